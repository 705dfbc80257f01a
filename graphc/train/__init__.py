"""Training from the host: data, first values, the loop around a compiled train step, and what to make of it."""

from graphc.train.augmentation import (
    Augmentation,
    Brightness,
    Colour,
    Contrast,
    Flip,
    Noise,
    RandomCrop,
    Translate,
)
from graphc.train.data import Dataset
from graphc.train.initialisers import Gaussian, He, Xavier, initialise
from graphc.train.loop import Recipe, Trained, Watcher, fit
from graphc.train.plateau import OnPlateau
from graphc.train.progress import Bar
from graphc.train.whitening import Whitening

__all__ = [
    "Augmentation", "Bar", "Brightness", "Colour", "Contrast", "Dataset", "Flip", "Gaussian", "He", "Noise",
    "OnPlateau", "RandomCrop", "Recipe", "Trained", "Translate", "Watcher", "Whitening", "Xavier", "fit",
    "initialise",
]  # fmt: skip
