"""Data: case lists, datalists, loading with checks, and two-stream batches."""

from medssl.data.batches.augmentation import mirrors_and_turns
from medssl.data.batches.cached import CachedDataset
from medssl.data.batches.image_colors import StrongImageViewd
from medssl.data.batches.image_crops import WeakImageViewd
from medssl.data.batches.loader import (
    SeededDataset,
    TwoStreamLoader,
    check_views,
    collate_two_stream,
    two_stream_loader,
)
from medssl.data.batches.patches import random_patch
from medssl.data.batches.sampling import TwoStreamBatchSampler
from medssl.data.batches.strong_volumes import strong_volume_view
from medssl.data.checks.labels import check_first_case, validate_labels
from medssl.data.checks.lists import validate_datalist
from medssl.data.lists.contents import contents_sha256
from medssl.data.lists.datalist import Datalist, build_datalist
from medssl.data.lists.datalist_file import load_datalist, training_datalist
from medssl.data.lists.layout import case_name, list_scans
from medssl.data.lists.own_splits import build_own_datalist
from medssl.data.lists.published_splits import Split, read_split, split_names, split_sha256
from medssl.data.preparing.reference_roi import add_reference_boxes
from medssl.data.reading.loading import LoadCased
from medssl.data.reading.orientation import Orientd, preprocessing
from medssl.data.reading.readers import DicomSeriesReader, H5Reader, SimpleITKReader
from medssl.data.reading.transforms import CropAboveMinimumd, CropToBoxd, NormalizeByForegroundd

__all__ = [
    "CachedDataset",
    "CropAboveMinimumd",
    "CropToBoxd",
    "Datalist",
    "DicomSeriesReader",
    "H5Reader",
    "LoadCased",
    "NormalizeByForegroundd",
    "Orientd",
    "SeededDataset",
    "SimpleITKReader",
    "Split",
    "StrongImageViewd",
    "TwoStreamBatchSampler",
    "TwoStreamLoader",
    "WeakImageViewd",
    "add_reference_boxes",
    "build_datalist",
    "build_own_datalist",
    "case_name",
    "check_first_case",
    "check_views",
    "collate_two_stream",
    "contents_sha256",
    "list_scans",
    "load_datalist",
    "mirrors_and_turns",
    "preprocessing",
    "random_patch",
    "read_split",
    "split_names",
    "split_sha256",
    "strong_volume_view",
    "training_datalist",
    "two_stream_loader",
    "validate_datalist",
    "validate_labels",
]
