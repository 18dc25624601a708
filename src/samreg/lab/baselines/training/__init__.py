"""Training the baselines of the paper: VoxelMorph, LabelReg, V-Net, FCT and MedNeXt.

`train` takes pairs of labelled images and settings and leaves a checkpoint that `networks.checkpoint` reads.
"""
