"""Every text of a report, in English and in Chinese."""

from collections.abc import Callable

from ..errors import unknown

LANGUAGES = {"en": 0, "zh": 1}  # name → column of TEXTS
HTML_NAMES = {"en": "en", "zh": "zh-Hans"}

TEXTS: dict[str, tuple[str, str]] = {
    # headline
    "title": ("{network} on {data}", "{network} · {data}"),
    "training_report": ("Training report", "训练报告"),
    "test_report": ("Test report", "测试报告"),
    "comparison": ("Comparison", "对比报告"),
    "n_runs": ("Runs: {n}", "训练：{n}"),
    "n_tests": ("Tests: {n}", "测试：{n}"),
    "accuracy": ("Accuracy", "准确率"),
    "on_part": ("{mistakes} of {images} {part} images wrong", "{images} 张{part}图像中错 {mistakes} 张"),
    "on_val": ("on the validation images", "验证集图像"),
    "interval": ("95 % interval {low:.1f} – {high:.1f} %", "95 % 置信区间 {low:.1f} – {high:.1f} %"),
    "balanced": ("Balanced accuracy", "平衡准确率"),
    "balanced_about": ("every class counts the same", "各类别权重相同"),
    "worst": ("Weakest class", "最弱类别"),
    "worst_about": ("{recall:.1f} % of {images} images found", "{images} 张图像中识别出 {recall:.1f} %"),
    "ece": ("Calibration error", "校准误差"),
    "ece_about": ("after temperature {temperature:.2f}", "温度 {temperature:.2f} 校准后"),
    "ece_plain": ("confidence against accuracy", "置信度与准确率之差"),
    "time": ("Training time", "训练用时"),
    "speed": ("{speed:.0f} images/s, {epochs} epochs", "每秒 {speed:.0f} 张图像，{epochs} 轮"),
    "in_seconds": ("{seconds} s", "{seconds} 秒"),
    "in_minutes": ("{minutes} min {seconds:02d} s", "{minutes} 分 {seconds:02d} 秒"),
    "in_hours": ("{hours} h {minutes:02d} min", "{hours} 小时 {minutes:02d} 分"),
    "best_model": (
        "The model is the one with the lowest validation error. The test images chose nothing.",
        "模型为验证误差最低的一个；测试图像没有参与任何选择。",
    ),
    "last_model": (
        "The model is that of the last update. The test images chose nothing.",
        "模型取自最后一次参数更新；测试图像没有参与任何选择。",
    ),
    "val_only": (
        "There was no test part. The validation images also chose the model: expect a little less on new pictures.",
        "没有测试集。验证图像也参与了模型选择：对新图片的准确率会略低。",
    ),
    "not_tested": (
        "No images were held out, so nothing is known yet about new pictures. Hold some out with --val and --test.",
        "没有留出任何图像，因此对新图片的表现一无所知。可用 --val 和 --test 留出一部分。",
    ),
    "unfinished": (
        "This run is not finished: it stands at update {update}. Go on with the first command below.",
        "本次训练尚未完成：目前为第 {update} 次更新。可用下方第一条命令继续。",
    ),
    "tested_with": ("Tested on the {part} part of {data} under the protocol {protocol}.",
                    "测试数据：{data} 的{part}部分；测试协议：{protocol}。"),
    "train": ("training", "训练"),
    "val": ("validation", "验证"),
    "test": ("test", "测试"),
    "all": ("whole", "全部"),
    # data
    "data": ("Data", "数据"),
    "data_about": (
        "{images} images in {classes} classes. The network learns from the training part; the other parts show "
        "what it has understood.",
        "共 {classes} 个类别、{images} 张图像。网络从训练部分学习，其余部分用来检验它学到了什么。",
    ),
    "imbalanced": (
        "The largest class has {ratio:.0f} times as many training images as the smallest: look at the balanced "
        "accuracy and the weakest class, and see the recipe's balance.",
        "最大类别的训练图像数是最小类别的 {ratio:.0f} 倍：请关注平衡准确率和最弱类别，并参见训练方案中的 balance。",
    ),
    "class": ("class", "类别"),
    "total": ("total", "合计"),
    "all_classes": ("All {n} classes", "全部 {n} 个类别"),
    "split": ("Split", "划分"),
    "notes": ("Notes", "说明"),
    "unread": ("Files that could not be read: {n}", "无法读取的文件：{n}"),
    "and_more": ("… and {n} more", "……另有 {n} 个"),
    # curves
    "curves": ("Training", "训练过程"),
    "curves_about": (
        "Each epoch shows the network all training images once. A training error that goes on falling while the "
        "validation error rises is overfitting. Training images are altered at random (augmentation) and counted while "
        "the network still changes, so the training error may stand above the validation error.",
        "每一轮把全部训练图像给网络看一遍。若训练误差继续下降而验证误差上升，即为过拟合。训练图像经过随机变换（数据增强），"
        "且在网络仍在变化时统计，因此训练误差可能高于验证误差。",
    ),
    "error_chart": ("Error, % of images", "误差（占图像的 %）"),
    "loss_chart": ("Loss, nats", "损失（奈特）"),
    "rate_chart": ("Learning rate", "学习率"),
    "by_epoch": ("epoch", "轮"),
    "by_update": ("update", "参数更新次数"),
    "watched_line": ("test, watched", "测试（仅观察）"),
    "watched": (
        "The test error per epoch was watched; no choice read it.",
        "逐轮的测试误差仅供观察，没有任何选择依据它。",
    ),
    # classes
    "classes": ("Classes", "各类别"),
    "classes_about": (
        "Recall: of the images of this class, how many were found. Precision: of the answers that name this class, "
        "how many are right. The weakest class stands first.",
        "召回率：该类图像中被识别出的比例。精确率：回答为该类的结果中正确的比例。最弱的类别排在最前。",
    ),
    "images": ("images", "图像数"),
    "mistakes": ("mistakes", "错误数"),
    "recall": ("recall", "召回率"),
    "precision": ("precision", "精确率"),
    "taken_for": ("most often taken for", "最常误认为"),
    # confusions
    "confusion": ("Confusion matrix", "混淆矩阵"),
    "confusion_about": (
        "A row is the right class, a column the answer, the shade its share of the row. Blue is right, orange wrong.",
        "行为真实类别，列为模型的回答；颜色深浅表示占该行的比例。蓝色为正确，橙色为错误。",
    ),
    "confusions": ("Most frequent confusions", "最常见的混淆"),
    "is": ("is", "真实类别"),
    "answer": ("was taken for", "误认为"),
    "times": ("times", "次数"),
    "share": ("of its class", "占该类"),
    "flawless": ("Not one mistake.", "没有一个错误。"),
    # calibration
    "calibration": ("Calibration", "校准"),
    "calibration_about": (
        "Of the answers given with 80 % confidence, 80 % should be right: bars on the dashed line. Bars below it mean "
        "that the model is too sure of itself.",
        "置信度为 80 % 的回答应有 80 % 正确，即柱顶落在虚线上；低于虚线说明模型过于自信。",
    ),
    "temperature_about": (
        "Dividing the scores by the temperature {temperature:.2f}, fitted on the validation images, makes the "
        "confidence honest without changing an answer.",
        "将得分除以在验证集上拟合的温度 {temperature:.2f}，可使置信度更可信，而不改变任何回答。",
    ),
    "before": ("as trained", "校准前"),
    "after": ("with the temperature", "温度校准后"),
    "error_of": ("calibration error {ece:.2f} %", "校准误差 {ece:.2f} %"),
    "reliability_axes": ("across: confidence, up: share of right answers", "横轴：置信度；纵轴：正确率"),
    # mistakes
    "mistaken": ("Most confident mistakes", "置信度最高的错误"),
    "mistaken_about": (
        "The pictures as the network saw them. Look for wrong labels first: they often stand here.",
        "图片为网络实际看到的样子。请先检查标签：标错的图片常常出现在这里。",
    ),
    "rightly": ("is", "实为"),
    "wrongly": ("answer", "回答"),
    # tests, recipe, environment
    "tests": ("Tests of this model", "该模型的测试"),
    "part": ("part", "部分"),
    "protocol": ("protocol", "测试协议"),
    "top1": ("top-1 error", "top-1 误差"),
    "top5": ("top-5 error", "top-5 误差"),
    "loss": ("loss", "损失"),
    "model": ("model", "模型"),
    "recipe": ("Recipe", "训练方案"),
    "recipe_about": (
        "{name}: every value that decides the result. The same recipe and seed give the same model.",
        "{name}：决定结果的全部取值。相同的方案和随机种子得到相同的模型。",
    ),
    "reasons": ("Why these values", "取值的理由"),
    "changed": ("Changed from the recipe {name}", "与方案 {name} 的不同之处"),
    "field": ("field", "字段"),
    "here": ("here", "本次"),
    "usual": ("recipe", "原方案"),
    "every_value": ("Every value", "全部取值"),
    "environment": ("Environment", "运行环境"),
    "environment_about": ("The machine and the versions that it began with.", "开始训练时的机器与软件版本。"),
    "next": ("Next", "下一步"),
    "next_serve": ("a page to drop pictures on", "打开网页，拖入图片"),
    "next_predict": ("name what is on pictures", "识别图片内容"),
    "next_evaluate": ("test on other data", "在其他数据上测试"),
    "next_describe": ("every value of the recipe", "查看方案的全部取值"),
    "next_resume": ("go on with this run", "继续本次训练"),
    "next_report": ("this page in Chinese", "本页的英文版"),
    "next_compare": ("compare all runs in this folder", "比较该文件夹中的全部训练"),
    "made_by": ("Written by resnets {version}. This page is one file and asks for nothing from outside.",
                "由 resnets {version} 生成。本页为单个文件，不向外部请求任何内容。"),
    # detectors
    "detector_run": (
        "{updates:,} updates in {spent}, recipe {recipe}, seed {seed}.",
        "{updates:,} 次参数更新，用时 {spent}；训练方案 {recipe}，随机种子 {seed}。",
    ),
    "best_detector": (
        "The model is the one with the highest validation AP. The test pictures chose nothing.",
        "模型为验证集平均精度最高的一个；测试图片没有参与任何选择。",
    ),
    "precision_ap": ("Average precision", "平均精度"),
    "figure": ("figure", "指标"),
    "number": ("value", "数值"),
    "area_rule": ("area rule", "曲线下面积"),
    "points_11": ("11 points", "11 点"),
    "test_pictures": ("Test pictures", "测试图片"),
    "detector_axes": (
        "Left: training loss. Right: average precision on the validation pictures. Across: updates.",
        "左图：训练损失；右图：验证集平均精度；横轴：参数更新次数。",
    ),
    "ap_rules": (
        "area and voc07: PASCAL VOC at an IoU above 0.5, the area under the curve and the mean of 11 points; difficult "
        "objects count neither way. bbox, segm: COCO's twelve for boxes and masks, AP the mean over IoU 0.50 to 0.95.",
        "area 与 voc07：PASCAL VOC 的平均精度（IoU 大于 0.5），分别取曲线下面积和 11 点均值；标为困难的物体不计入。"
        "bbox、segm：COCO 的十二项边框与掩码指标，AP 为 IoU 0.50 至 0.95 的均值。",
    ),
    # comparison
    "groups": ("Runs that differ only in their seed", "仅随机种子不同的训练"),
    "groups_about": (
        "Errors in percent: best, median, and mean ± sample standard deviation over the seeds. The best of several "
        "runs is no forecast; the mean is.",
        "误差以百分数表示：各随机种子中的最好值、中位数，以及均值 ± 样本标准差。多次中的最好值不能作为预期，均值才能。",
    ),
    "runs": ("runs", "次数"),
    "run": ("run", "训练"),
    "seed": ("seed", "种子"),
    "network": ("network", "网络"),
    "best": ("best", "最好"),
    "median": ("median", "中位数"),
    "mean": ("mean ± deviation", "均值 ± 标准差"),
    "test_error": ("test error", "测试误差"),
    "val_error": ("validation error", "验证误差"),
    "every_run": ("Every run", "每次训练"),
    "every_run_about": (
        "Columns show only what differs between the runs.",
        "方案字段只列出各次训练之间不同的部分。",
    ),
    "overlaid": ("Errors per epoch", "逐轮误差"),
    "overlaid_about": (
        "Solid: {kind} error. Dotted: training error. One colour for the runs that differ only in their seed.",
        "实线：{kind}误差。点线：训练误差。仅随机种子不同的训练用同一种颜色。",
    ),
    "going_on": ("not finished", "未完成"),
    "minutes": ("time", "用时"),
    "rate": ("images/s", "每秒图像数"),
    "tests_only": ("Tests", "测试"),
    "left_out": ("Left out, because a file of theirs is damaged:", "以下各项因文件损坏而未参与对比："),
    "several_data": (
        "These runs are on different data: their errors do not compare.",
        "这些训练使用了不同的数据，误差之间不可比较。",
    ),
}  # fmt: skip


def speaker(language: str) -> Callable[..., str]:
    """The function that answers the text of a key in LANGUAGE, filled with values. Raises UsageError."""
    if language not in LANGUAGES:
        raise unknown("language", language, LANGUAGES)
    column = LANGUAGES[language]
    return lambda key, **values: TEXTS[key][column].format(**values)
