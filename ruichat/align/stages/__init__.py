"""Stages that align any supported encoder with any causal language model."""
