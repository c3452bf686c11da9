"""Judgements: pure functions of facts and the present time."""
