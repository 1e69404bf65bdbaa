"""Define the contracts: what a component of each kind must do. Shapes are part of the contract.

B questions, n passages, k passages per question, d dimensions, P (question, passage) pairs, M
decoder rows, T target tokens, V vocabulary. A component never changes the arrays it is passed.

Every component is constructed as `Component(config)` from an instance of its own `Config`, declares
in `capabilities` what it can do beyond the minimum, and raises `UnsupportedOperation` for the rest.
A plugin need not inherit from these classes: having the methods is enough.
"""

from ragcore.contracts.component import Capabilities, Capability, Component, name_of, remember_name
from ragcore.contracts.corpus import Corpus, DividedCorpus, DocumentCorpus, KnownDocuments
from ragcore.contracts.encoder import Encoder
from ragcore.contracts.extensions import supports
from ragcore.contracts.generator import (
    Generator,
    PassageReuser,
    Read,
    State,
    TogetherReader,
    WordGenerator,
    end_tokens,
    weights_dtype,
)
from ragcore.contracts.index import (
    EmptySpawner,
    FilteringIndex,
    GraphIndex,
    Index,
    JoiningIndex,
    RemoteData,
    SavedIndex,
    VectorSource,
)
from ragcore.contracts.passages import PassageField, PassageRecord, PassageStore
from ragcore.contracts.retriever import (
    CacheUser,
    CompactingRetriever,
    FilteringRetriever,
    Fragments,
    IndexTrainer,
    MergingRetriever,
    PassageReader,
    PassageSource,
    Retriever,
    SavedRetriever,
    ScratchUser,
    VectorCache,
)
from ragcore.contracts.runner import Finished, Job, JobReport, PartReport, Runner, Worker
from ragcore.contracts.scorer import AnswerabilityScorer, Scorer
from ragcore.contracts.text_generator import (
    TIER_CONTRACTS,
    AnyGenerator,
    Completion,
    Prompted,
    ScoringGenerator,
    StreamingGenerator,
    TextGenerator,
    TextScore,
    TopGenerator,
    TopToken,
    Writing,
    gives_scores,
    gives_steps,
    gives_texts,
    gives_tops,
    scores_texts,
    steps_of,
    tier_of,
    whole_text,
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
from ragcore.tiers import Meter, Tier

__all__ = [
    "ANY_LENGTH",
    "TIER_CONTRACTS",
    "AnswerabilityScorer",
    "AnyGenerator",
    "CacheUser",
    "Capabilities",
    "Capability",
    "CompactingRetriever",
    "Completion",
    "Component",
    "Corpus",
    "DividedCorpus",
    "DocumentCorpus",
    "EmptySpawner",
    "Encoder",
    "FilteringIndex",
    "FilteringRetriever",
    "Finished",
    "Fragments",
    "Generator",
    "GraphIndex",
    "Index",
    "IndexTrainer",
    "Job",
    "JobReport",
    "JoiningIndex",
    "KnownDocuments",
    "Meter",
    "MergingRetriever",
    "PartReport",
    "PassageField",
    "PassageReader",
    "PassageRecord",
    "PassageReuser",
    "PassageSource",
    "PassageStore",
    "Prompted",
    "Read",
    "RemoteData",
    "Retriever",
    "Runner",
    "SavedIndex",
    "SavedRetriever",
    "Scorer",
    "ScoringGenerator",
    "ScratchUser",
    "StreamingGenerator",
    "State",
    "TextGenerator",
    "TextScore",
    "TextTokenizer",
    "Tier",
    "TogetherReader",
    "TokenizedEncoder",
    "TokenizedRetriever",
    "TokenizerUser",
    "TopGenerator",
    "TopToken",
    "Trainable",
    "TrainableEncoder",
    "TrainableGenerator",
    "TrainableRetriever",
    "VectorCache",
    "VectorSource",
    "WordGenerator",
    "Worker",
    "Writing",
    "end_tokens",
    "gives_scores",
    "gives_steps",
    "gives_texts",
    "gives_tops",
    "name_of",
    "remember_name",
    "scores_texts",
    "steps_of",
    "supports",
    "tier_of",
    "weights_dtype",
    "whole_text",
]
