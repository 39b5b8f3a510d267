"""The BOHB master: budgets, sampler, dispatcher, and the journal of a study."""
