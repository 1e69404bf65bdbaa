"""The core's own components, registered through the same hooks as a plugin's."""

from __future__ import annotations

from typing import Final

from ragcore.hookspecs import Components, Target, hookimpl

_CONFIGS: Final = "ragcore.retrievers.configs"


@hookimpl
def ragcore_corpora() -> Components:
    """Name the corpora that read files and data sets."""
    return {
        "jsonl": "ragcore.corpora.jsonl:Jsonl",
        "dpr-tsv": "ragcore.corpora.dpr_tsv:DprTsv",
        "csv": "ragcore.corpora.tables:Csv",
        "tsv": "ragcore.corpora.tables:Tsv",
        "parquet": "ragcore.corpora.parquet:Parquet",
        "huggingface": "ragcore.corpora.huggingface:HuggingFace",
        "text": "ragcore.corpora.text_folder:TextFolder",
    }


@hookimpl
def ragcore_indexes() -> Components:
    """Name the index that computes all inner products with numpy alone."""
    return {"exact": Target("ragcore.retrievers.flat:Exact", config=f"{_CONFIGS}:ExactConfig")}


@hookimpl
def ragcore_retrievers() -> Components:
    """Name dense search and the retrievers that combine other retrievers."""
    return {
        "dense": Target("ragcore.retrievers.dense:Dense", config=f"{_CONFIGS}:DenseConfig"),
        "hybrid": Target("ragcore.retrievers.hybrid:Hybrid", config=f"{_CONFIGS}:HybridConfig"),
        "rerank": Target("ragcore.retrievers.rerank:Rerank", config=f"{_CONFIGS}:RerankConfig"),
        "with-metadata": Target(
            "ragcore.retrievers.with_metadata:WithMetadata",
            config=f"{_CONFIGS}:WithMetadataConfig",
        ),
    }


@hookimpl
def ragcore_scorers() -> Components:
    """Name the scorer that uses a generator that can write questions."""
    return {
        "query-likelihood": Target(
            "ragcore.retrievers.query_likelihood:QueryLikelihood",
            config=f"{_CONFIGS}:QueryLikelihoodConfig",
        )
    }


@hookimpl
def ragcore_runners() -> Components:
    """Name where parts of a job run without a plugin."""
    return {
        "processes": Target(
            "ragcore.runners.processes:Processes", config="ragcore.runners.configs:ProcessesConfig"
        )
    }


@hookimpl
def ragcore_metrics() -> dict[str, str]:
    """Name the metrics of answers, of their confidence and passages, and of retrieval."""
    package = "ragcore.evaluation.metrics"
    return {
        "exact_match": f"{package}.answers:ExactMatch",
        "f1": f"{package}.answers:TokenF1",
        "has_ans_exact_match": f"{package}.answers:HasAnswerExactMatch",
        "has_ans_f1": f"{package}.answers:HasAnswerF1",
        "no_ans_exact_match": f"{package}.answers:NoAnswerExactMatch",
        "label_accuracy": f"{package}.answers:LabelAccuracy",
        "log_prob": f"{package}.answers:LogProb",
        "log_prob_auroc": f"{package}.selection:LogProbAuroc",
        "selective_exact_match": f"{package}.selection:SelectiveExactMatch",
        "brier": f"{package}.confidence:Brier",
        "ece": f"{package}.confidence:ExpectedCalibrationError",
        "aurc": f"{package}.confidence:Aurc",
        "prior_entropy": f"{package}.entropy:PriorEntropy",
        "posterior_entropy": f"{package}.entropy:PosteriorEntropy",
        "prior_posterior_kl": f"{package}.entropy:PriorPosteriorKl",
        "passages_for": f"{package}.entropy:PassagesFor",
        "bleu_1": f"{package}.texts:Bleu1",
        "rouge_l": f"{package}.texts:RougeL",
        "distinct_trigrams": f"{package}.texts:DistinctTrigrams",
        "q_bleu_1": f"{package}.answerability:QBleu1",
        "hit": f"{package}.ranking:HitAtK",
        "recall": f"{package}.ranking:RecallAtK",
        "mrr": f"{package}.ranking:MeanReciprocalRank",
        "ndcg": f"{package}.ranking:Ndcg",
    }


@hookimpl
def ragcore_cli() -> dict[str, str]:
    """Name the core's commands; `ragcore.cli.COMMANDS` has a line of help for each."""
    return {
        "ask": "ragcore.cli.ask:app",
        "chat": "ragcore.cli.chat:app",
        "search": "ragcore.cli.search:app",
        "train": "ragcore.cli.train:app",
        "eval": "ragcore.cli.evaluate:app",
        "experiment": "ragcore.cli.experiment:app",
        "tune": "ragcore.cli.tune:app",
        "replay": "ragcore.cli.evaluate:replay_app",
        "calibrate": "ragcore.cli.calibrate:app",
        "verify": "ragcore.cli.verify:app",
        "memory": "ragcore.cli.memory:app",
        "cache": "ragcore.cli.cache:app",
        "check": "ragcore.cli.config:check_app",
        "fill": "ragcore.cli.config:fill_app",
        "schema": "ragcore.cli.config:schema_app",
        "plugins": "ragcore.cli.plugins:app",
        "plugin": "ragcore.cli.plugin:app",
        "completion": "ragcore.cli.completion:app",
    }
