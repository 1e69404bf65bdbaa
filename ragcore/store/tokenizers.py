"""Pass the tokenizer of a retriever's encoder to a corpus that splits texts by tokens."""

from __future__ import annotations

from ragcore.contracts import Retriever, TokenizedRetriever, supports
from ragcore.errors import CorpusError, UnsupportedOperation
from ragcore.store.checking import label_of

__all__ = ["give_tokenizer"]


def give_tokenizer(
    corpus: object, corpus_name: str | None, retriever: Retriever, retriever_name: str
) -> None:
    """Pass the retriever's tokenizer to a corpus, if it needs one; before it is iterated.

    Args:
        corpus: a corpus, or any other source of passages.
        corpus_name: that it is registered under, for errors.
        retriever: that its passages are added to.
        retriever_name: that it is registered under, for errors.

    Raises:
        CorpusError: the corpus needs a tokenizer, and the retriever has none.
    """
    if "tokenizer" not in getattr(corpus, "capabilities", ()):
        return
    tokenizer, fault = None, None
    if supports(retriever, TokenizedRetriever):
        try:
            tokenizer = retriever.tokenizer
        except UnsupportedOperation as error:
            fault = error
    if tokenizer is None:
        raise CorpusError(
            f"{label_of(corpus_name)} splits texts by tokens of the retriever's encoder, and "
            f"retriever {retriever_name!r} has no encoder that tells its tokens: split by words or "
            "sentences (memory.corpus.split.by), or use a retriever with such an encoder, as "
            "{use: dense, encoder: {use: sentence-transformers, …}}"
        ) from fault
    corpus.use_tokenizer(tokenizer)  # type: ignore[attr-defined]
