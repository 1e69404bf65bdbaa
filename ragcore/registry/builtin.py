"""The core's own components, given through the same hooks as a plugin's."""

from __future__ import annotations

from ragcore.hookspecs import hookimpl


@hookimpl
def ragcore_corpora() -> dict[str, str]:
    """Passages from files."""
    return {
        "jsonl": "ragcore.corpora.readers:Jsonl",
        "dpr-tsv": "ragcore.corpora.readers:DprTsv",
        "text": "ragcore.corpora.readers:TextFolder",
    }


@hookimpl
def ragcore_indexes() -> dict[str, str]:
    """All inner products, with numpy alone."""
    return {"exact": "ragcore.retrievers.flat:Exact"}


@hookimpl
def ragcore_retrievers() -> dict[str, str]:
    """An encoder and an index together, and retrievers made of others."""
    return {
        "dense": "ragcore.retrievers.dense:Dense",
        "hybrid": "ragcore.retrievers.hybrid:Hybrid",
        "rerank": "ragcore.retrievers.rerank:Rerank",
    }


@hookimpl
def ragcore_scorers() -> dict[str, str]:
    """Any generator that can write questions."""
    return {"likelihood": "ragcore.retrievers.query_likelihood:QueryLikelihood"}


@hookimpl
def ragcore_metrics() -> dict[str, str]:
    """Of answers and of what was found."""
    here = "ragcore.evaluation.metrics"
    return {
        "exact_match": f"{here}.answers:ExactMatch",
        "f1": f"{here}.answers:TokenF1",
        "label_accuracy": f"{here}.answers:LabelAccuracy",
        "log_prob": f"{here}.answers:LogProb",
        "bleu_1": f"{here}.texts:Bleu1",
        "rouge_l": f"{here}.texts:RougeL",
        "distinct_trigrams": f"{here}.texts:DistinctTrigrams",
        "q_bleu_1": f"{here}.answerability:QBleu1",
        "recall": f"{here}.ranking:RecallAtK",
        "mrr": f"{here}.ranking:MeanReciprocalRank",
        "ndcg": f"{here}.ranking:Ndcg",
    }


@hookimpl
def ragcore_cli() -> dict[str, str]:
    """The core's commands; `ragcore.cli.COMMANDS` has a line of help for each."""
    return {
        "ask": "ragcore.cli.ask:app",
        "train": "ragcore.cli.train:app",
        "eval": "ragcore.cli.evaluate:app",
        "replay": "ragcore.cli.evaluate:replay_app",
        "verify": "ragcore.cli.verify:app",
        "memory": "ragcore.cli.memory:app",
        "check": "ragcore.cli.config:check_app",
        "fill": "ragcore.cli.config:fill_app",
        "schema": "ragcore.cli.config:schema_app",
        "plugins": "ragcore.cli.plugins:app",
        "plugin": "ragcore.cli.plugin:app",
    }
