"""The types of the configuration's sections, so that mypy finds a misspelled key and a wrong type.

Only data_schema/config.schema.json holds defaults, ranges and descriptions. tests/common/test_sections.py
compares keys and types with it. At run time sections are plain dicts.
"""

# Long because it lists every section of the configuration, and people look them up in one place.

from __future__ import annotations

from typing import Any, Literal, TypedDict

Role = Literal["classifier", "relation", "teacher", "student", "detector"]
"""A network to train; also the name of its section of the configuration."""

Scored = Literal["student", "teacher", "detector", "instances"]
"""What an arm of an experiment may score: a network, or the pseudo-labels that a detector learns from."""

TIMM = "timm/"
"""Names of timm's backbones begin so; also in `weclick.models.build`, which takes seconds to load."""

TWO_STREAM = "two_stream"
"""The architecture that looks at stacks of flow; also a name in `weclick.models.build`."""

HUB = "hub:"
"""`proxy_labels.sam2.model` begins so if it names a model of Hugging Face's hub."""

Estimator = Literal["dis", "flownet2", "raft"]
Mask = Literal["forward_backward", "photometric"]
Method = Literal["weclick", "f2f", "two_stream", "maskconsist"]
Supervision = Literal["clicks", "masks", "both", "proxies", "tags"]
CRFPreset = Literal["sec", "krahenbuhl_code", "nips2011_text", "deeplab_v1", "irn"]
Mix = Literal["human", "masks", "human_else_masks"]


class S3Section(TypedDict):
    """`cache.s3`: where buckets are."""

    endpoint_url: str | None
    region: str | None


class ReadThroughSection(TypedDict):
    """`cache.read_through`: the folder of entries that were fetched from buckets."""

    path: str | None
    max_gib: float


class CacheSection(TypedDict):
    """`cache`: the store."""

    roots: list[str]
    trusted_keys: list[str]
    s3: S3Section
    read_through: ReadThroughSection
    lease_wait_s: float
    lease_wait: float | None


class ToySection(TypedDict):
    """`data.toy`: the procedural street."""

    seed: int
    height: int
    width: int
    frames: int
    clips: dict[str, int]
    absent: float


class DataSection(TypedDict):
    """`data`: the data set."""

    name: Literal["toy", "camvid", "cityscapes", "folder", "voc", "youtube_objects", "davis", "youtube_vis"]
    root: str
    shards: int
    train: str
    val: str
    shrink: int
    target_every: int | None
    held_out: Literal["clips", "other_frames"]
    held_out_every: int | None
    val_clips: list[str]
    val_seed: int
    val_per_class: int
    classes: str | None
    clicks: str | None
    toy: ToySection


class ClicksSection(TypedDict):
    """`clicks`: one point per object."""

    min_pixels: int
    min_pixels_at: list[int] | None
    point: Literal["centroid", "random"]
    mix: Mix


class TagsSection(TypedDict):
    """`tags`: the classes that occur in frames and clips."""

    source: Literal["labels", "file", "folders", "voc"]
    file: str | None
    min_pixels: int
    min_pixels_at: list[int] | None
    complete: bool
    reach_frames: int


class WindowSection(TypedDict):
    """`window`: the neighbours of a target."""

    direction: Literal["forward", "backward", "both"]
    frames: int
    sampling: Literal["random", "fixed"]
    interval_frames: int
    max_gap_frames: int


class PairSection(TypedDict):
    """`pair`: the two frames of a step of MaskConsist."""

    delta_frames: int


class StackSection(TypedDict):
    """`stack`: the flows that a motion stream looks at."""

    length: int
    first: int
    edge: Literal["repeat", "zero"]
    scale_px: float


class FramesSection(TypedDict):
    """`frames`: decoded frames."""

    chunk_px: int
    codec: Literal["lz4", "zstd"]
    pack: bool


class MasksSection(TypedDict):
    """`masks`: class maps of the target frames."""

    chunk_px: int


class FlowSection(TypedDict):
    """`flow`: optical flow from targets to neighbours."""

    estimator: Estimator
    options: dict[str, Any]
    stride_px: int
    on_overflow: Literal["error", "clip"]
    masks: list[Mask]
    batch_pairs: int
    motion: Literal["raw", "residual"]


class TrainingSection(TypedDict):
    """What the sections of all networks share: a backbone, and how the network is trained."""

    backbone: str
    pretrained: str | None
    output_stride: Literal[8, 16, 32] | None
    batch_norm: Literal["train", "frozen", "sync"]
    steps: int
    batch_size: int
    accumulate: int
    crop: list[int]
    scale: list[float]
    flip: bool
    colour_jitter: float
    optimizer: Literal["sgd", "adamw"]
    learning_rate: float
    head_learning_rate_factor: float
    momentum: float
    weight_decay: float
    clip_gradient_norm: float | None
    poly_power: float
    ema: float | None
    keep: Literal["last", "best"]
    precision: Literal["auto", "32", "bf16"]
    deterministic: bool
    validate_every: int
    validate_frames: int
    checkpoint_every: int
    log_every: int
    profile: list[int] | None


class ClassifierSection(TrainingSection):
    """`classifier`: which classes an image shows."""

    hidden: int
    dropout: float
    freeze: bool


class NetworkSection(TrainingSection):
    """What `teacher` and `student` share: a segmentation network and its training."""

    channels: int
    auxiliary_head: bool
    auxiliary_weight: float
    head_norm: Literal["batch", "group"]
    dropout: float | None


class TeacherSection(NetworkSection):
    """`teacher`: the large net."""

    architecture: Literal["deeplabv3plus", "pspnet"]


class OnlineSection(TypedDict):
    """`student.online`: teacher and flow estimator in the training's loop."""

    teacher: str | None
    estimator: Estimator
    options: dict[str, Any]


class StudentSection(NetworkSection):
    """`student`: the small net."""

    architecture: Literal["deeplabv3plus", "pspnet", "two_stream"]
    fusion: Literal["early", "late", "none"]
    late_fusion: Literal["sum", "concat_conv"]
    image_share: float | None
    online: OnlineSection


class DetectorSection(TrainingSection):
    """`detector`: Mask R-CNN."""

    channels: int
    min_score: float
    nms: float
    detections: int
    proposals: list[int]
    anchors_px: list[int]
    rois: int


class MaskConsistSection(TypedDict):
    """`maskconsist`: labels completed while the detector trains."""

    weight: float
    intra: bool
    inter: bool
    iom: bool
    overlap: Literal["box", "mask"]
    matching: Literal["each", "shared"]
    min_iou: float
    min_score: float
    warmup: float
    iom_across_classes: bool
    iom_order: Literal["area", "labels_first"]
    grid_px: int


class CamsSection(TypedDict):
    """`cams`: where a classifier sees the classes."""

    source: Literal["tags", "imagenet", "iconic"]
    sources: dict[str, Literal["tags", "imagenet", "iconic", "none"]]
    iconic: str | None
    scales: list[float]
    flip: bool
    merge: Literal["maximum", "sum"]
    min_score: float
    backbone: str
    pretrained: str
    mapping: dict[str, list[int]]
    combine: Literal["maximum", "sum"]


class ClassMapFolderSection(TypedDict):
    """`proxy_labels.folder`: class maps in files."""

    path: str | None


class NetworkLabelsSection(TypedDict):
    """`proxy_labels.network`: predictions of a trained network."""

    path: str | None
    crf: CRFPreset | None
    min_probability: float


class Sam2Section(TypedDict):
    """`proxy_labels.sam2`: masks of SAM 2 at clicks."""

    model: str | None
    every: int
    negatives: int


class ProxyLabelsSection(TypedDict):
    """`proxy_labels`: class maps in the place of annotation."""

    source: Literal["f2f", "folder", "network", "sam2"]
    frames: int
    gap_frames: int
    tau: float
    threshold: float
    background_threshold: float
    filter: bool
    runs_per_clip: int | None
    target: Literal["last", "middle"]
    aggregate: Literal["union", "maximum", "mean"]
    binarise: Literal["each_step", "end"]
    occlusion: Literal["none", "forward_backward", "photometric", "both"]
    background: Literal["cam", "saliency_file", "motion"]
    saliency: str | None
    conflict: Literal["smaller_region", "ignore", "highest"]
    folder: ClassMapFolderSection
    network: NetworkLabelsSection
    sam2: Sam2Section
    chunk_px: int


class FcamSection(TypedDict):
    """`fcam`: maps amplified by motion."""

    motion: Literal["none", "raw", "residual"]
    factor: float
    percentile: float


class ConfidentLabelsSection(TypedDict):
    """`confident_labels`: class maps of the pixels of which maps are sure."""

    foreground: float
    background: float
    crf: CRFPreset | None
    backend: Literal["exact", "lattice"]
    grid_px: int
    iterations: int
    confidence: float
    chunk_px: int


class RelationSection(TrainingSection):
    """`relation`: which cells belong together."""

    radius: int
    displacement_learning_rate_factor: float


class InstancesOfNetworkSection(TypedDict):
    """`instances.network`: predictions of a trained detector."""

    path: str | None
    min_score: float


class InstancesSection(TypedDict):
    """`instances`: pseudo-labels of instances."""

    source: Literal["relation", "clicks", "masks", "network"]
    clicks_within: Literal["maps", "frame"]
    background: float
    weak_px: float
    min_share: float
    normalise: Literal["image", "instance"]
    min_score: float
    radius: int
    beta: float
    exp_times: int
    network: InstancesOfNetworkSection


LabelPrecision = Literal["float32", "float32_folded", "bfloat16", "float16"]
"""How teachers compute soft labels. The first one takes them as they were trained, one frame at a time."""


class OnnxSection(TypedDict):
    """`soft_labels.onnx`: a network of any origin."""

    path: str | None
    classes: list[str | None] | dict[str, str] | None
    mean: list[float]
    std: list[float]
    size: list[int] | None
    output: Literal["logits", "probabilities"]


class LabelFolderSection(TypedDict):
    """`soft_labels.folder`: predictions in files."""

    path: str | None
    kind: Literal["class_maps", "probabilities"]


class FuseSection(TypedDict):
    """`soft_labels.fuse`: the mean of a target and its neighbours."""

    neighbours: int
    weight: float
    occlusion: Literal["none", "forward_backward", "photometric", "both"]


class SoftLabelsSection(TypedDict):
    """`soft_labels`: predictions on every frame."""

    source: Literal["teacher", "onnx", "folder"]
    teachers: list[int | str]
    onnx: OnnxSection
    folder: LabelFolderSection
    precision: LabelPrecision
    batch_frames: int
    fuse: FuseSection
    chunk_px: int
    codec: Literal["float16", "log8", "root8", "root6", "top4"]


class PartialCrossEntropySection(TypedDict):
    """`partial_cross_entropy`: Eq. 1."""

    weight: float
    class_weights: list[float] | str | None


class AnnotationSection(TypedDict):
    """`annotation`: the time that people have, and what they take."""

    minutes: float | None
    click_first_s: float
    click_next_s: float
    frame_s: float
    mask_object_s: float


class CrossEntropySection(TypedDict):
    """`cross_entropy`: the loss at labelled pixels."""

    weight: float


class SeedLossSection(TypedDict):
    """`seed_loss`: the loss at cues."""

    weight: float
    balanced: bool
    grow: bool
    grow_foreground: float
    grow_background: float
    preset: CRFPreset
    iterations: int


class ExpandLossSection(TypedDict):
    """`expand_loss`: how much of a crop its classes cover."""

    weight: float
    foreground: float
    background: float


class ConstrainLossSection(TypedDict):
    """`constrain_loss`: towards a dense CRF."""

    weight: float
    preset: CRFPreset
    iterations: int


class TagLossSection(TypedDict):
    """`tag_loss`: which classes an image shows, pooled over its cells."""

    weight: float
    pooling: Literal["lse", "max", "mean"]
    r: float


class HeatmapLossSection(TypedDict):
    """`heatmap_loss`: where a classifier sees the classes of an image."""

    weight: float
    threshold: float
    divisor: Literal["tags", "present"]
    background: Literal["complement", "none"]


FlowBoundarySection = TypedDict(
    "FlowBoundarySection",
    {
        "weight": float,
        "lambda": float,
        "components": Literal[2, 4],
        "unit": Literal["cell", "image_px"],
        "signal": Literal["gradient", "flow"],
        "occlusion": Literal["none", "forward_backward", "photometric", "both"],
    },
)
"""`flow_boundary`: cells that move alike belong together. A class could have no key `lambda`."""


class GatedCRFSection(TypedDict):
    """`gated_crf`: Gated CRF regularisation."""

    weight: float
    warmup: float
    radius: int
    sigma_xy: float
    sigma_rgb: float | None


class MFDSection(TypedDict):
    """`mfd`: memory-flow distillation, Eq. 3."""

    weight: float
    consistency: Literal["exp_neg", "as_printed", "none"]
    stop_gradient: bool
    reduction: Literal["mean", "sum"]
    occlusion: Literal["none", "forward_backward", "photometric", "both"]


class KDSection(TypedDict):
    """`kd`: knowledge distillation, Eq. 4."""

    weight: float
    direction: Literal["teacher_student", "student_teacher"]
    temperature: float


class EvaluateSection(TypedDict):
    """`evaluate`: scores."""

    max_gap_frames: int
    examples: int
    write_predictions: bool
    crf: CRFPreset | None


class ReportSection(TypedDict):
    """`report`: the page."""

    examples: int


class WatchSection(TypedDict):
    """`watch`: what shows trainings beside TensorBoard."""

    to: list[Literal["wandb", "mlflow"]]
    project: str
    mlflow_uri: str | None


class AblationSection(TypedDict):
    """`ablation`: variants of the student."""

    seeds: list[int]


class ExperimentSection(TypedDict):
    """`experiment`: named changes of the configuration, over seeds."""

    name: str | None
    question: str
    protocol: str
    seeds: list[int]
    arms: dict[str, dict[str, Any]]
    compare: list[list[str]]
    choose: dict[str, dict[str, Any]]
    wanted_effect: float
    over: str | None
    data: dict[str, dict[str, Any]]


class Config(TypedDict):
    """A complete configuration. `serves` and `supervision` are never null in it."""

    version: Literal[1]
    results: str
    method: Method
    serves: list[Method]
    seed: int
    device: Literal["auto", "cpu", "cuda"]
    devices: int
    cache: CacheSection
    data: DataSection
    clicks: ClicksSection
    tags: TagsSection
    window: WindowSection
    pair: PairSection
    stack: StackSection
    frames: FramesSection
    masks: MasksSection
    flow: FlowSection
    classifier: ClassifierSection
    cams: CamsSection
    proxy_labels: ProxyLabelsSection
    fcam: FcamSection
    confident_labels: ConfidentLabelsSection
    relation: RelationSection
    instances: InstancesSection
    teacher: TeacherSection
    soft_labels: SoftLabelsSection
    student: StudentSection
    detector: DetectorSection
    maskconsist: MaskConsistSection
    supervision: Supervision
    annotation: AnnotationSection
    partial_cross_entropy: PartialCrossEntropySection
    cross_entropy: CrossEntropySection
    seed_loss: SeedLossSection
    expand_loss: ExpandLossSection
    tag_loss: TagLossSection
    heatmap_loss: HeatmapLossSection
    constrain_loss: ConstrainLossSection
    flow_boundary: FlowBoundarySection
    gated_crf: GatedCRFSection
    mfd: MFDSection
    kd: KDSection
    evaluate: EvaluateSection
    report: ReportSection
    watch: WatchSection
    ablation: AblationSection
    experiment: ExperimentSection


class Selection(TypedDict, total=False):
    """The part of a configuration that a stage may read. `config.SECTIONS` lists its keys.

    If a stage reads only one value of a section, the section holds only that value.
    """

    serves: list[Method]
    seed: int
    cache: CacheSection
    data: DataSection
    clicks: ClicksSection
    tags: TagsSection
    window: WindowSection
    pair: PairSection
    stack: StackSection
    frames: FramesSection
    masks: MasksSection
    flow: FlowSection
    classifier: ClassifierSection
    cams: CamsSection
    proxy_labels: ProxyLabelsSection
    fcam: FcamSection
    confident_labels: ConfidentLabelsSection
    relation: RelationSection
    instances: InstancesSection
    teacher: TeacherSection
    soft_labels: SoftLabelsSection
    student: StudentSection
    detector: DetectorSection
    maskconsist: MaskConsistSection
    supervision: Supervision
    annotation: AnnotationSection
    partial_cross_entropy: PartialCrossEntropySection
    cross_entropy: CrossEntropySection
    seed_loss: SeedLossSection
    expand_loss: ExpandLossSection
    tag_loss: TagLossSection
    heatmap_loss: HeatmapLossSection
    constrain_loss: ConstrainLossSection
    flow_boundary: FlowBoundarySection
    gated_crf: GatedCRFSection
    mfd: MFDSection
    kd: KDSection
    evaluate: EvaluateSection
