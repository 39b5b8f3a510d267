"""Cells on the CPU in fewer passes over memory: what lies between their convolutions is compiled C.

``kernels.c`` and ``winograd.c`` hold the loops, ``library`` compiles and loads them, ``kernels`` calls them on tensors,
and ``cell`` is the forward and the backward pass of a cell that uses them.  ``nas.oneshot.supernet`` says what a cell
computes, and computes it where these do not apply: on a GPU, in other precisions than float32, without a C compiler.
"""
