"""The policy of ENAS: an LSTM that writes an architecture down, node by node.

Shapes: n samples at once, H units, B choice blocks, O operations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.search_space import N_OPERATIONS, SearchSpace

HIDDEN_UNITS = 64
INIT_RANGE = 0.1
TEMPERATURE = 5.0
TANH_CONSTANT = 2.5


@dataclass(frozen=True)
class Samples:
    """Architectures drawn from the policy.

    Attributes:
        choices: [n, 2B + 1] as ``SearchSpace.radices`` orders them.
        log_prob: [n] logarithm of the probability of the draws.
        entropy: [n] sum over the nodes of the entropies of their distributions; of parents, that of the first draw.
    """

    choices: Tensor
    log_prob: Tensor
    entropy: Tensor


class Controller(nn.Module):
    """Draws, for each node in turn, its parents by attention over the earlier nodes, then its operation.

    It lives on the CPU, whatever the device of the supernet: its steps are tiny and wait for each other.

    Differs from the public code:
        * No bias towards some operations; it was copied from another search space.
        * Scores of operations are bounded by ``TANH_CONSTANT``, as those of parents are; there by a fifth of it.
        * A set of parents has the probability with which it is drawn without replacement; there the mean of the draws'
          logarithms, the second one not renormalised.
        * Each block's operation is drawn in the block's own step, and the output has none; there one node late, with an
          operation for the output.  Where there is no choice, no log-probability is added.
        * The operation's step reads the mean of the drawn parents, there the last one; and the first nodes' anchors are
          states of the LSTM, there zeros.
    """

    def __init__(self, space: SearchSpace, generator: torch.Generator) -> None:
        super().__init__()
        self.space = space
        self.embedding = nn.Embedding(1 + N_OPERATIONS, HIDDEN_UNITS)
        self.lstm = nn.LSTMCell(HIDDEN_UNITS, HIDDEN_UNITS)
        self.operation_head = nn.Linear(HIDDEN_UNITS, N_OPERATIONS, bias=False)
        self.anchor_key = nn.Linear(HIDDEN_UNITS, HIDDEN_UNITS, bias=False)
        self.query = nn.Linear(HIDDEN_UNITS, HIDDEN_UNITS, bias=False)
        self.attention = nn.Linear(HIDDEN_UNITS, 1, bias=False)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-INIT_RANGE, INIT_RANGE, generator=generator)
        self._set_of_mask = [self._positions(node) for node in range(1, space.n_blocks + 2)]

    def _positions(self, node: int) -> Tensor:
        """[2^node] the position in ``parent_sets`` of the set whose members are a mask's bits."""
        positions = torch.full((2**node,), -1)
        for position, parents in enumerate(self.space.parent_sets[node - 1]):
            positions[sum(1 << parent for parent in parents)] = position
        return positions

    def forward(self, n: int, generator: torch.Generator) -> Samples:
        """Draws n architectures."""
        start = self.embedding(torch.zeros(n, dtype=torch.long))
        state: tuple[Tensor, Tensor] = self.lstm(start)
        anchors = [state[0]]
        parent_sets, operations, log_probs, entropies = [], [], [], []
        for node in range(1, self.space.n_blocks + 2):
            inputs = start
            if self.space.has_parent_choice(node):
                state = self.lstm(start, state)
                drawn, log_prob, entropy = self._draw(
                    self._parent_logits(anchors, state[0]), self.space.n_parents[node - 1], generator
                )
                log_probs.append(log_prob)
                entropies.append(entropy)
                parent_sets.append(self._set_of_mask[node - 1][(1 << drawn).sum(1)])
                inputs = torch.stack(anchors, 1).gather(1, drawn[:, :, None].expand(-1, -1, HIDDEN_UNITS)).mean(1)
            else:
                parent_sets.append(torch.zeros(n, dtype=torch.long))
            if node <= self.space.n_blocks:
                state = self.lstm(inputs, state)
                drawn, log_prob, entropy = self._draw(_squash(self.operation_head(state[0])), 1, generator)
                log_probs.append(log_prob)
                entropies.append(entropy)
                operations.append(drawn[:, 0])
                state = self.lstm(self.embedding(1 + drawn[:, 0]), state)
                anchors.append(state[0])
        choices = torch.stack([*parent_sets, *operations], 1)
        return Samples(choices, torch.stack(log_probs).sum(0), torch.stack(entropies).sum(0))

    def _parent_logits(self, anchors: list[Tensor], hidden: Tensor) -> Tensor:
        """[n, node] scores of the earlier nodes."""
        keys = self.anchor_key(torch.stack(anchors, 1))
        return _squash(self.attention(torch.tanh(keys + self.query(hidden)[:, None]))[..., 0])

    @staticmethod
    def _draw(logits: Tensor, k: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draws k times without replacement from [n, m] logits: indices [n, k], log-probability [n], entropy [n].

        The k largest of logits plus Gumbel noise are such draws, in order.
        """
        gumbels = -torch.empty(logits.shape).exponential_(generator=generator).log()
        drawn = (logits.detach() + gumbels).topk(k, dim=1).indices
        log_prob = torch.zeros(len(logits))
        remaining = logits
        for position in range(k):
            index = drawn[:, position : position + 1]
            log_prob = log_prob + F.log_softmax(remaining, 1).gather(1, index)[:, 0]
            remaining = remaining.scatter(1, index, -torch.inf)
        log_p = F.log_softmax(logits, 1)
        return drawn, log_prob, -(log_p.exp() * log_p).sum(1)


def _squash(logits: Tensor) -> Tensor:
    """Bounds logits so that the policy stays open to all choices."""
    return TANH_CONSTANT * torch.tanh(logits / TEMPERATURE)
