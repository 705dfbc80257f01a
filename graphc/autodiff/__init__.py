"""Learning as graph transforms: gradients, losses, penalties, optimisers, learning rates, and the train step."""

from graphc.autodiff.gradient import grad, stop_gradient
from graphc.autodiff.losses import CrossEntropy, MeanSquared, accuracy, mean_absolute_error
from graphc.autodiff.optimisers import SGD, Adagrad, Adam, AdamW, ClipByNorm, ClipByValue, Momentum, RMSProp
from graphc.autodiff.regularisers import L1, L2, ElasticNet
from graphc.autodiff.schedules import Constant, Cosine, Exponential, Stairstep, WarmUp
from graphc.autodiff.step import evaluation, initial_state, train_step, trained
from graphc.autodiff.training import inference_mode, training_mode

__all__ = [
    "L1", "L2", "SGD", "Adagrad", "Adam", "AdamW", "ClipByNorm", "ClipByValue", "Constant", "Cosine", "CrossEntropy",
    "ElasticNet", "Exponential", "MeanSquared", "Momentum", "RMSProp", "Stairstep", "WarmUp", "accuracy",
    "evaluation", "grad", "inference_mode", "initial_state", "mean_absolute_error", "stop_gradient", "train_step",
    "trained", "training_mode",
]  # fmt: skip
