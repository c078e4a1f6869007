// Every text of the page, in English and in Chinese.

const LANGUAGES = ["en", "zh"]; // columns of TEXTS
const HTML_NAMES = ["en", "zh-Hans"];

const TEXTS = {
  kind: ["resnets · what is on a picture", "resnets · 图像分类"],
  other_language: ["中文", "English"],
  model: ["Model", "模型"],
  layers: ["{n} layers", "{n} 层"],
  n_classes: ["{n} classes", "{n} 个类别"],
  test_error: ["test error {error} %", "测试误差 {error} %"],
  test_error_on: ["test error {error} % on {data}", "测试误差 {error} %（{data}）"],
  tabs: ["Views", "视图"],
  tab_pictures: ["Pictures", "图片"],
  tab_network: ["Network", "网络"],
  tab_run: ["Training run", "训练"],

  // the server
  gone: [
    "The server does not answer. The pictures stay here and go on when it is back.",
    "服务器没有响应。图片保留在此页，服务器恢复后会继续。",
  ],
  starting: ["The model is starting. Pictures can be added already.", "模型正在启动。现在就可以添加图片。"],
  locked: ["This server wants a token.", "此服务器需要访问令牌。"],
  token: ["Token", "令牌"],
  unlock: ["Continue", "继续"],
  refused: ["The server refuses this page: {sentence}", "服务器拒绝了本页面：{sentence}"],
  again: ["Try again", "重试"],

  // giving pictures
  drop_here: ["Drop pictures here", "把图片拖到这里"],
  more_here: ["Drop more pictures here", "可继续拖入图片"],
  choose: ["Choose pictures", "选择图片"],
  photograph: ["Take a photo", "拍照"],
  paste: [
    "Or paste one. Pictures go to {host} only, and are not kept there.",
    "也可以直接粘贴。图片只发送到 {host}，不会保存。",
  ],

  // the whole list
  counts: ["Answered: {done} of {all}", "已识别 {done} / {all}"],
  unsure_count: ["not sure: {n}", "不确定：{n}"],
  failed_count: ["failed: {n}", "失败：{n}"],
  pace: ["{n} ms a picture", "每张 {n} 毫秒"],
  progress: ["Progress", "进度"],
  csv: ["Download CSV", "下载 CSV"],
  clear: ["Clear", "清空"],
  again_failed: ["Try the failed ones again", "重试失败的图片"],
  show_only: ["Show only", "只显示"],
  everything: ["all {n}", "全部 {n}"],
  list: ["Answers", "识别结果"],

  // a picture
  waiting: ["waiting", "等待中"],
  sending: ["looking …", "识别中……"],
  unsure: ["Not sure", "不确定"],
  unsure_about: [
    "The best guess, {name} with {p}, is below the model's own threshold of {threshold}.",
    "最可能的是 {name}（{p}），低于模型自身的阈值 {threshold}。",
  ],
  failed: ["No answer", "没有结果"],
  open: ["Show details", "显示详情"],
  close: ["Close", "收起"],
  as_seen: ["as the network saw it: {size} × {size}", "网络看到的样子：{size} × {size}"],
  as_seen_crop: [
    "as the network saw it: the centre, {size} × {size}",
    "网络看到的样子：中央部分，{size} × {size}",
  ],
  seen_alt: ["{file}, as the network saw it", "{file}，网络看到的样子"],
  heat_alt: ["Where the network saw {name}", "网络看到 {name} 的位置"],
  where: ["Where it looked", "看了哪里"],
  hide_where: ["Hide where it looked", "隐藏热力图"],
  where_for: ["What speaks for {name}", "支持 {name} 的位置"],
  faint: ["little", "少"],
  strong: ["much", "多"],
  opacity: ["Strength of the overlay", "叠加强度"],
  pick_class: ["Choose a class to see what speaks for it.", "点击任一类别，查看图中支持它的位置。"],
  not_explained: ["This engine cannot say where it looked.", "此推理引擎无法说明看了哪里。"],
  time: [
    "{all} ms: decoding {decoding}, waiting {waiting}, network {inference}",
    "{all} 毫秒：解码 {decoding}，等待 {waiting}，推理 {inference}",
  ],
  curl: ["The same request in a terminal", "在终端中发出同样的请求"],
  copy: ["Copy", "复制"],
  copied: ["Copied", "已复制"],
  select: ["Selected: copy it with Ctrl+C", "已选中，请按 Ctrl+C 复制"],

  // why there is no answer
  not_picture: ["This is no picture ({type}).", "这不是图片（{type}）。"],
  too_large: ["This file has {size} MB; the server takes at most {limit} MB.", "文件有 {size} MB；服务器最多接受 {limit} MB。"],
  unreadable: ["This file cannot be read. It may have been moved or changed.", "无法读取此文件，它可能已被移动或更改。"],
  not_sent: ["This picture could not be sent.", "图片未能发送。"],
  status_other: ["The server answered: {sentence}", "服务器返回：{sentence}"],
  status_408: ["Sending took too long.", "发送用时过长。"],
  status_413: ["The server takes no picture of this size.", "服务器不接受这么大的图片。"],
  status_422: ["The server cannot read this picture: {sentence}", "服务器无法读取这张图片：{sentence}"],
  status_501: ["This engine cannot say where it looked.", "此推理引擎无法说明看了哪里。"],
  status_503: ["The server is too busy.", "服务器过于繁忙。"],

  // the network
  card_layers: ["Layers", "层数"],
  card_parameters: ["Parameters", "参数量"],
  card_multiply_adds: ["Multiply-adds", "乘加次数"],
  card_input: ["Input", "输入"],
  card_classes: ["Classes", "类别"],
  about_layers: ["with weights, on the main path", "主路径上带权重的层"],
  about_parameters: ["numbers that were learnt", "学习得到的数"],
  about_multiply_adds: ["for one picture", "每张图片"],
  about_input: ["pixels, {channels} channels", "像素，{channels} 个通道"],
  about_classes: ["possible answers", "可能的回答"],
  net_plain: [
    "A plain network. Every unit passes on only what its convolutions compute from its input.",
    "普通网络。每个单元只输出其卷积的计算结果。",
  ],
  net_residual: [
    "A residual network. Along every arc the input of a unit is carried past its convolutions and added to what they compute.",
    "残差网络。每条弧线把单元的输入绕过卷积，与卷积的计算结果相加。",
  ],
  net_before: [
    "BN and ReLU stand before the convolutions (pre-activation), so that nothing disturbs the way along the arcs.",
    "BN 和 ReLU 位于卷积之前（预激活），因此弧线上的通路不受任何干扰。",
  ],
  net_gate: [
    "A network with gates. From its input every unit computes a gate g, which sets how much is carried past the convolutions.",
    "门控网络（highway）。每个单元由输入算出门 g，决定多少内容绕过卷积。",
  ],
  net_vgg: [
    "A VGG network. Groups of 3×3 convolutions, each ended by pooling, then three linear layers. There are no shortcuts.",
    "VGG 网络。若干组 3×3 卷积，每组以池化结束，之后是三个线性层，没有捷径。",
  ],
  net_depth: [
    "In training the units were dropped at random, the last one with probability {p} (stochastic depth).",
    "训练时随机丢弃单元，最后一个单元的丢弃概率为 {p}（随机深度）。",
  ],
  units: ["Units: {n}", "{n} 个单元"],
  convolutions: ["Convolutions: {n}", "{n} 个卷积"],
  parameters: ["parameters", "参数量"],
  multiply_adds: ["multiply-adds", "乘加次数"],
  times: ["× {n}", "× {n}"],
  drawn_units: ["{name}: {n} units", "{name}：{n} 个单元"],
  key: ["How to read it", "图例"],
  key_conv: ["convolution, channels", "卷积与通道数"],
  key_bn: ["BN", "BN"],
  key_relu: ["ReLU", "ReLU"],
  key_identity: ["identity shortcut", "恒等捷径"],
  key_zeros: ["identity, new channels are zero", "恒等捷径，新通道补零"],
  key_projection: ["projection shortcut (1×1 convolution)", "投影捷径（1×1 卷积）"],
  key_gate: ["gate g, from 0 to 1, computed from the input", "门 g，由输入算出，取值 0 到 1"],
  before: ["Before and after", "输入与输出处理"],
  fit_crop: [
    "A picture is turned upright, resized to {resized} pixels on its shorter side ({filter}), and the {size} × {size} in its centre are cut out.",
    "图片先转正，缩放到短边 {resized} 像素（{filter}），再取中央 {size} × {size}。",
  ],
  fit_pad: [
    "A picture is turned upright, resized to {size} pixels on its longer side ({filter}), and filled up to a square.",
    "图片先转正，缩放到长边 {size} 像素（{filter}），再填充成正方形。",
  ],
  fit_squash: [
    "A picture is turned upright and resized to {size} × {size}, whatever its proportions ({filter}).",
    "图片先转正，再不顾长宽比缩放到 {size} × {size}（{filter}）。",
  ],
  calibrated: [
    "Scores are divided by the temperature {temperature}, fitted on validation images, so that of the answers given with 80 % about 80 % are right.",
    "得分除以在验证集上拟合的温度 {temperature}，使概率为 80 % 的回答大约有 80 % 正确。",
  ],
  threshold: ["Below {threshold} the page says “not sure”.", "概率低于 {threshold} 时显示“不确定”。"],
  all_classes: ["All {n} classes", "全部 {n} 个类别"],

  // the run
  report: ["Report of the training run", "训练报告"],
  save_report: ["Save the report", "保存报告"],
};

let column = chosen();
const shown = new WeakMap(); // element → the values of its text

function chosen() {
  let kept = null;
  try {
    kept = localStorage.getItem("resnets.language");
  } catch {} // refused by the browser's settings
  const wanted = [kept, ...(navigator.languages ?? []), navigator.language].map((name) => String(name).slice(0, 2));
  return Math.max(0, LANGUAGES.indexOf(wanted.find((name) => LANGUAGES.includes(name))));
}

/** The text of KEY in the page's language, filled with VALUES. */
export function say(key, values = {}) {
  return TEXTS[key][column].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** Whether there is a text called KEY. */
export function known(key) {
  return Object.hasOwn(TEXTS, key);
}

/** Let ELEMENT show the text of KEY, also after the language changes. */
export function put(element, key, values) {
  element.dataset.word = key;
  shown.set(element, values);
  element.textContent = say(key, values);
  return element;
}

/** Let ELEMENT be called by the text of KEY where it is read aloud. */
export function label(element, key, values) {
  element.dataset.label = key;
  shown.set(element, values);
  element.setAttribute("aria-label", say(key, values));
  return element;
}

/** Say everything on the page in its language. */
export function translate() {
  document.documentElement.lang = HTML_NAMES[column];
  for (const element of document.querySelectorAll("[data-word]")) put(element, element.dataset.word, shown.get(element));
  for (const element of document.querySelectorAll("[data-label]")) label(element, element.dataset.label, shown.get(element));
}

/** Go on in the other language. */
export function switchLanguage() {
  column = 1 - column;
  try {
    localStorage.setItem("resnets.language", LANGUAGES[column]);
  } catch {}
  translate();
}
