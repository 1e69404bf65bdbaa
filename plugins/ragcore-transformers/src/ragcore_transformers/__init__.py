"""Hugging Face models as generators and encoders for ragcore."""
