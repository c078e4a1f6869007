"""The names of all experiments; each is imported when it is asked for."""

import importlib

from ..errors import unknown
from .experiment import Experiment

# name → file and what it shows
EXPERIMENTS: dict[str, tuple[str, str]] = {
    "figure-1": ("figure_1", "he2015: a deeper plain net has higher training error"),
    "figure-4": ("figure_4", "he2015: plain and residual nets of 18 and 34 layers on ImageNet, curves"),
    "figure-5": ("figure_5", "he2015: the cost of the two residual units"),
    "figure-6": ("figure_6", "he2015: plain and residual nets on CIFAR-10, curves"),
    "figure-7": ("figure_7", "he2015: deviations of layer responses"),
    "table-1": ("table_1", "he2015: architectures for ImageNet and their cost, with VGG"),
    "table-2": ("table_2", "he2015: plain against residual, 18 and 34 layers, ImageNet, 10 crops"),
    "table-3": ("table_3", "he2015: ImageNet validation, 10 crops, options A to C"),
    "table-4": ("table_4", "he2015: ImageNet validation, single models, fully convolutional at five scales"),
    "table-5": ("table_5", "he2015: ensembles on ImageNet"),
    "table-6": ("table_6", "he2015: CIFAR-10, 20 to 1202 layers"),
    "table-7": ("table_7", "he2015: Faster R-CNN on PASCAL VOC"),
    "table-8": ("table_8", "he2015: Faster R-CNN on COCO"),
    "table-9": ("table_9", "he2015: refinement, context, multi-scale testing, ensemble on COCO"),
    "table-10": ("table_10", "he2015: PASCAL VOC 2007, class by class"),
    "table-11": ("table_11", "he2015: PASCAL VOC 2012, class by class"),
    "table-12": ("table_12", "he2015: ImageNet detection"),
    "table-13": ("table_13", "he2015: localization error on ImageNet"),
    "table-14": ("table_14", "he2015: localization in the ILSVRC challenges"),
    "identity-figure-1": ("identity_figure_1", "he2016: 1001 layers, original and pre-activation units, curves"),
    "identity-table-1": ("identity_table_1", "he2016: variants of the shortcut, 110 layers"),
    "identity-table-2": ("identity_table_2", "he2016: where BN and ReLU stand, units a to e"),
    "identity-table-3": ("identity_table_3", "he2016: original against pre-activation units, CIFAR-10 and -100"),
    "identity-table-4": ("identity_table_4", "he2016: state of the art on CIFAR"),
    "identity-table-5": ("identity_table_5", "he2016: ImageNet, 152 and 200 layers"),
    "highway": ("highway", "Srivastava et al. 2015: highway nets on CIFAR-10"),
    "lesions": ("lesions", "Veit et al. 2016: units removed from a trained net"),
    "shuffling": ("shuffling", "Veit et al. 2016: units shuffled in a trained net"),
    "paths": ("paths", "Veit et al. 2016: lengths of paths and their gradients"),
    "short-paths": ("short_paths", "Veit et al. 2016: training with 23 of 54 units a mini-batch"),
}


def experiment(name: str) -> Experiment:
    """The experiment called NAME. Raises UsageError for an unknown one."""
    if name not in EXPERIMENTS:
        raise unknown("experiment", name, EXPERIMENTS)
    return importlib.import_module(f".{EXPERIMENTS[name][0]}", __package__).EXPERIMENT
