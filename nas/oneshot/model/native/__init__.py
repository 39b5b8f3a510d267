"""Cells on the CPU in fewer passes over memory: what lies between their convolutions is compiled C.

The C files hold the loops: ``winograd.c`` the 3x3 convolutions, ``products.c`` matrix products and moments,
``normalisation.c`` BatchNorm and its gradients, ``pooling.c`` max pooling, ``terms.c`` sums.  ``library`` compiles and
loads them, ``kernels`` calls them on tensors, and ``cell`` is the forward and the backward pass of a cell that uses
them.  ``nas.oneshot.model.supernet`` says what a cell computes, and computes it where these do not apply: on a GPU, in
other precisions than float32, without a C compiler.
"""
