"""State dicts and safetensors: names and weights of a model whose code, eps and data flow are not in the file."""
