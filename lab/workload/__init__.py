"""What a user of the pipeline has and this computer has not: engines on GPUs, their exporter, and a gateway.

They serve invented requests, but speak as the real ones do: the engines as vLLM, the exporter as
dcgm-exporter, the gateway as LiteLLM.
"""
