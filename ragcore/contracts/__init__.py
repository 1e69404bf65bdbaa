"""Define the contracts: what a component of each kind must do. Shapes are part of the contract.

B questions, n passages, k passages per question, d dimensions, P (question, passage) pairs, M
decoder rows, T target tokens, V vocabulary. A component never changes the arrays it is passed.

Every component is constructed as `Component(config)` from an instance of its own `Config`, declares
in `capabilities` what it can do beyond the minimum, and raises `UnsupportedOperation` for the rest.
A plugin need not inherit from these classes: having the methods is enough.
"""

from ragcore.contracts.component import Capabilities, Capability, Component
from ragcore.contracts.corpus import Corpus, DocumentCorpus, KnownDocuments
from ragcore.contracts.encoder import Encoder
from ragcore.contracts.extensions import supports
from ragcore.contracts.generator import (
    Generator,
    Read,
    State,
    WordGenerator,
    end_tokens,
    weights_dtype,
)
from ragcore.contracts.index import EmptySpawner, Index, VectorSource
from ragcore.contracts.retriever import (
    CacheUser,
    PassageReader,
    PassageSource,
    Retriever,
    ScratchUser,
    VectorCache,
)
from ragcore.contracts.scorer import Scorer
from ragcore.contracts.text_generator import (
    Completion,
    Prompted,
    ScoringGenerator,
    TextGenerator,
    TextScore,
    TopGenerator,
    TopToken,
    Writing,
    scores_texts,
    tier_of,
)
from ragcore.contracts.tokenizer import (
    ANY_LENGTH,
    TextTokenizer,
    TokenizedEncoder,
    TokenizedRetriever,
    TokenizerUser,
)
from ragcore.contracts.training import (
    Trainable,
    TrainableEncoder,
    TrainableGenerator,
    TrainableRetriever,
)

__all__ = [
    "Completion",
    "Prompted",
    "ScoringGenerator",
    "TextGenerator",
    "TextScore",
    "TopGenerator",
    "TopToken",
    "Writing",
    "scores_texts",
    "tier_of",
    "ANY_LENGTH",
    "CacheUser",
    "Capability",
    "Capabilities",
    "Component",
    "Corpus",
    "DocumentCorpus",
    "Encoder",
    "Generator",
    "Index",
    "KnownDocuments",
    "PassageReader",
    "PassageSource",
    "Read",
    "Retriever",
    "Scorer",
    "ScratchUser",
    "State",
    "EmptySpawner",
    "TextTokenizer",
    "TokenizedEncoder",
    "TokenizedRetriever",
    "TokenizerUser",
    "Trainable",
    "TrainableEncoder",
    "TrainableGenerator",
    "TrainableRetriever",
    "VectorCache",
    "VectorSource",
    "WordGenerator",
    "end_tokens",
    "supports",
    "weights_dtype",
]
