"""What the program says of data, splits, weights and choices, in Chinese: runs keep these sentences in English."""

import re
from functools import cache

# English, Chinese. A hole {0} is a name or names, {0:d} a number, {0:t} a sentence of its own. The first row that fits.
SENTENCES: tuple[tuple[str, str], ...] = (
    # why a field was chosen
    (
        "network: the shorter side is {0:d} pixels in the median of {1:d} pictures looked at, "
        "and there are {2:d} cores",
        "network：抽查的 {1} 张图片的短边中位数为 {0} 像素，本机有 {2} 个处理器核心",
    ),
    ("size: {0:d} pixels keep most of what {1:d} show", "size：{0} 像素足以保留 {1} 像素所显示的大部分内容"),
    ("size: {0:d} pixels need no more", "size：图片只有 {0} 像素，不需要更大的输入"),
    ("epochs: {0:d} training pictures, about {1:d} views in all", "epochs：训练图片 {0} 张，整个训练约看图 {1} 次"),
    ("fit: {0:d}% of the pictures are longer than 4:3", "fit：{0}% 的图片比 4:3 更狭长"),
    # how the parts came about
    (
        "{0:t}; {1:d} of {2:d} training images are the val part (seed {3:d})",
        "{0}；{2} 张训练图像中的 {1} 张作为验证部分（种子 {3}）",
    ),
    (
        "{0:t}; {1:d} of {2:d} training images are the test part (seed {3:d})",
        "{0}；{2} 张训练图像中的 {1} 张作为测试部分（种子 {3}）",
    ),
    (
        "{0:t}; without a test part, the reported error is that of the part that chose the model",
        "{0}；没有测试部分，报告的误差来自用于选择模型的那一部分",
    ),
    ("train and test as published, no validation part", "训练部分与测试部分按数据集发布时的划分，没有验证部分"),
    (
        "test as published; {0:d} of {1:d} training images validate (seed {2:d})",
        "测试部分按数据集发布时的划分；{1} 张训练图像中的 {0} 张用于验证（种子 {2}）",
    ),
    (
        "of {0:d} images {1:d} are the fixed test part, {2:d} validate (seed {3:d})",
        "{0} 张图像中，{1} 张为固定的测试部分，{2} 张用于验证（种子 {3}）",
    ),
    ("stratified split of {0:d} images, seed {1:d}", "{0} 张图像按类别分层随机划分，种子 {1}"),
    (
        "stratified split of {0:d} images in {1:d} groups, seed {2:d}",
        "{0} 张图像分属 {1} 个组，按组整体划分并兼顾各类别，种子 {2}",
    ),
    ("split of {0}", "沿用 {0} 的划分"),
    ("parts as in {0}", "各部分按 {0} 中的规定"),
    ("ImageNet's folders; its validation set is the test part", "ImageNet 的文件夹；其验证集作为测试部分"),
    ("folders train, val and test", "按文件夹 train、val 和 test 划分"),
    ("folders train, {0}", "按文件夹 train 和 {0} 划分"),
    # notes on folders and lists
    ("train: {0:t}", "训练部分：{0}"),
    ("val: {0:t}", "验证部分：{0}"),
    ("test: {0:t}", "测试部分：{0}"),
    ("{0:d} folders beside train ignored: {1}", "忽略了与 train 并列的 {0} 个文件夹：{1}"),
    ("{0:d} links out of the folder ignored: {1}", "忽略了 {0} 个指向该文件夹之外的链接：{1}"),
    ("{0:d} links to folders ignored: {1}", "忽略了 {0} 个指向文件夹的链接：{1}"),
    ("{0:d} files beside the class folders ignored: {1}", "忽略了与类别文件夹并列的 {0} 个文件：{1}"),
    ("{0:d} files that are no pictures ignored: {1}", "忽略了 {0} 个不是图片的文件：{1}"),
    ("{0:d} pictures that {1} does not list ignored: {2}", "忽略了 {1} 没有列出的 {0} 张图片：{2}"),
    ("{0:d} pictures of {1} are missing: {2}", "{1} 列出的图片中有 {0} 张不存在：{2}"),
    ("{0:d} empty class folders: {1}", "{0} 个类别文件夹是空的：{1}"),
    ("classes of {0}/ from {1}", "{0}/ 的类别取自 {1}"),
    ("classes from {0}", "类别取自 {0}"),
    ("{0} has no class folders with pictures and is ignored", "{0} 中没有含图片的类别文件夹，已忽略"),
    ("{0} has no classes and is ignored", "{0} 没有类别，已忽略"),
    ("lacks {0:d} of {1:d} classes: {2}", "{1} 个类别中缺少 {0} 个：{2}"),
    (
        "{0:d} groups by {1}, each kept in one part of a split made here",
        "按 {1} 分为 {0} 组；由本程序划分时，每组只进入一个部分",
    ),
    ("{0:d} groups lie in several parts of the data: {1}", "{0} 个组同时出现在数据的几个部分中：{1}"),
    # notes on pictures and weights
    ("pictures are {0} to {1} pixels (of {2:d} looked at)", "图片尺寸为 {0} 至 {1} 像素（抽查 {2} 张）"),
    ("pictures are {0} pixels (of {1:d} looked at)", "图片尺寸均为 {0} 像素（抽查 {1} 张）"),
    (
        "{0} has {1:d} pictures, {2} {3:d}: look at the balanced accuracy, "
        "and try --balance loss or --balance sampling",
        "{0} 有 {1} 张图片，{2} 只有 {3} 张：请关注平衡准确率，并可尝试 --balance loss 或 --balance sampling",
    ),
    (
        "new classifier for {0:d} classes; the body is kept, the file has {1:d} classes",
        "为 {0} 个类别新建了分类层；保留了网络主体，权重文件原有 {1} 个类别",
    ),
    ("{0}: {1:d} input channels summed into one", "{0}：{1} 个输入通道的权重相加为一个"),
    (
        "{0}: {1:d} input channels repeated to {2:d} and scaled by {3:d}/{4:d}",
        "{0}：{1} 个输入通道的权重重复为 {2} 个，并乘以 {3}/{4}",
    ),
    # files of runs
    ("{0} is damaged: {1}", "{0} 已损坏：{1}"),
    ("{0} is damaged; remove it and run: {1}", "{0} 已损坏；请删除该文件并运行：{1}"),
)
_HOLE = re.compile(r"\{(\d)(?::([dt]))?\}")


def said(text: str, language: str) -> str:
    """TEXT, a sentence of the program, in LANGUAGE; one that no row fits as it is."""
    for form, kinds, chinese in _rows() if language == "zh" else ():
        if found := form.fullmatch(text):
            holes = zip(found.groups(), kinds, strict=True)
            return chinese.format(*(said(hole, language) if kind == "t" else hole for hole, kind in holes))
    return text


@cache
def _rows() -> list[tuple[re.Pattern[str], list[str], str]]:
    """The pattern of every English sentence, the kinds of its holes in their order, and the Chinese one."""
    rows = []
    for english, chinese in SENTENCES:
        words, kinds = _HOLE.split(english)[::3], _HOLE.split(english)[2::3]
        holes = [r"(-?\d[\d.,]*)" if kind == "d" else "(.+?)" for kind in kinds] + [""]
        form = "".join(re.escape(word) + hole for word, hole in zip(words, holes, strict=True))
        rows.append((re.compile(form, re.DOTALL), kinds, chinese))
    return rows
