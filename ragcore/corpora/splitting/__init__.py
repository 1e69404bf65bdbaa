"""Split a document's text into pieces: the setting `split` of corpora.

Whatever the way, pieces start again at each heading, and all text of the document's blocks is in
one of them, in order.
"""

from ragcore.corpora.splitting.config import SplitConfig
from ragcore.corpora.splitting.pieces import Piece, check_tokens, split_document
from ragcore.corpora.structure import plain_document

__all__ = ["Piece", "SplitConfig", "check_tokens", "plain_document", "split_document"]
