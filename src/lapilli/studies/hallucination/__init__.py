"""Hallucination triage: does what an answer is made of say whether it can be trusted, better than its confidence?"""
