"""DiffSeg: the things in a photo, told apart by a Stable Diffusion that nobody trained for it.

    attention     photo -> one UNet pass -> how every place looks at every other
    aggregation   all resolutions -> one distribution for each place
    merging       places that look alike -> proposals
    clustering    k-means in addition, if asked for
    labels        proposals -> a label for each pixel
    nouns         which word of a prompt each segment is
    subject       which segments are the subject, and how sure that is
    things        segments as SAM's things, for proposals
    stage         the masks of an album

Source: Tian et al. 2023, Diffuse, Attend, and Segment (arXiv 2308.12469); google/diffseg.
"""
