"""Photos and masks in the layouts of other trainers, and what each of those trainers makes of them.

Everything about those trainers is restated from their documents and from reading how they behave; none of
their code is here (several are under the GPL or AGPL).
"""
