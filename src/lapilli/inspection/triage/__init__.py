"""Hallucination triage: does what an answer is made of say whether it can be trusted, and better than its confidence?"""
