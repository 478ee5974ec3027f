"""Proof that the leakage measures are right: pictures in which the leaked share is known, measured.

cases        what is validated on: photos of a subject, further views of their place, pictures without leak
alterations  how a known share of a photographed background gets into a picture
plan         which pictures are made: modes and levels
protocol     every picture measured, by the same functions that measure generated ones
outcomes     what follows from the numbers: response, ranking, power, false alarms
gates        what must hold, or the measure is broken
toy_cases, own_photos    where the cases come from: drawn places, or somebody's photos
"""
