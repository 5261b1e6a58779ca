"""What a person is told before an archive is opened; apart, so that a window can ask without torch."""

RISK = (
    "A TorchScript archive is a program, and opening it runs it. Go on only if you trust where this file "
    "comes from. It is converted into safetensors once, and never opened again."
)
