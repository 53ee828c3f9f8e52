"""What the notes say of the graphs with every node in sight that were laid out by hand, in English and in Chinese."""

from __future__ import annotations

from .notes import (
    DEV,
    FILL,
    HUGGING_FACE,
    ICEDIT_EXPERTS,
    TEXTS,
    VAE,
    X2EDIT_FILES,
    X2EDIT_FILES_ZH,
    X2EDIT_RELEASE,
    Note,
)

_TITLE, _TITLE_ZH = "Read me", "请先读"
_PLAIN = f"{HUGGING_FACE}/RiverZ/normal-lora"
_QWEN_VL = f"{HUGGING_FACE}/Comfy-Org/Qwen-Image_ComfyUI"

_FLUX_BASES = f"""- [CLIP-L and T5]({TEXTS}) into models/text_encoders · [autoencoder]({VAE}) into models/vae"""
_FLUX_BASES_ZH = f"""- [CLIP-L 与 T5]({TEXTS})放进 models/text_encoders · [自编码器]({VAE})放进 models/vae"""
_FILL_FILE = f"""- [FLUX.1 Fill dev]({FILL}), 23.8 GB, into models/diffusion_models (accept its licence there; not for commercial use)"""
_FILL_FILE_ZH = (
    f"""- [FLUX.1 Fill dev]({FILL})，23.8 GB，放进 models/diffusion_models（先在页面上接受许可；不可商用）"""
)
_EXPERTS = f"""- [ICEdit with experts]({ICEDIT_EXPERTS}), 0.4 GB: save pytorch_lora_weights.safetensors as ICEdit-MoE.safetensors in models/loras (not for commercial use)"""
_EXPERTS_ZH = f"""- [ICEdit 专家版]({ICEDIT_EXPERTS})，0.4 GB：把 pytorch_lora_weights.safetensors 存为 models/loras 里的 ICEdit-MoE.safetensors（不可商用）"""

_EXPERT_FILES = f"## Files\n{_FILL_FILE}\n{_FLUX_BASES}\n{_EXPERTS}"
_EXPERT_FILES_ZH = f"## 文件\n{_FILL_FILE_ZH}\n{_FLUX_BASES_ZH}\n{_EXPERTS_ZH}"
_FILES = f"## Files\n{X2EDIT_FILES}"
_FILES_ZH = f"## 文件\n{X2EDIT_FILES_ZH}"


def _without_download(adapter: str, width: str, base: str = "") -> str:
    chosen = f" (base *{base}*)" if base else ""
    return f"""## Without any download
Replace the loaders by **X2Edit Demo Models**{chosen}, choose the adapter *{adapter}* and set width of **{width}** to 128: they were made for pictures of that size."""


def _without_download_zh(adapter: str, width: str, base: str = "") -> str:
    chosen = f"（base 选 *{base}*）" if base else ""
    return f"""## 不想下载也能试
把加载器换成 **X2Edit 演示模型**{chosen}，适配器选 *{adapter}*，并把**{width}**的 width 设为 128：它们是为这个尺寸的图片做的。"""


_ON_DIPTYCH = ("embedded: icedit", "ICEdit Diptych", "fill")
_ON_DIPTYCH_ZH = ("embedded: icedit", "ICEdit 双联画", "fill")
_ON_REFERENCE = ("embedded: x2edit", "X2Edit Reference")
_ON_REFERENCE_ZH = ("embedded: x2edit", "X2Edit 参考图")

_X2EDIT = Note(
    _TITLE,
    f"""## Edit a picture with X2Edit
1. **Load Image**: the picture to edit, of any size.
2. **Instruction**: what to change. **X2Edit Task**: the kind of edit, which steers the experts.
3. Run. The result comes back at the source's size.

{_FILES}

{_without_download(*_ON_REFERENCE)}""",
    _TITLE_ZH,
    f"""## 用 X2Edit 编辑图片
1. **加载图像**：要编辑的图片，任意尺寸。
2. **指令**：想改什么。**X2Edit 任务**：编辑的种类，由它引导专家。
3. 运行。结果与原图尺寸相同。

{_FILES_ZH}

{_without_download_zh(*_ON_REFERENCE_ZH)}""",
)

_AUTOMATIC = Note(
    _TITLE,
    f"""## Say what to change
1. **Load Image**: the picture to edit, of any size.
2. **Instruction**: in English; T5 does not know Chinese (for that take the template **X2Edit with Qwen2.5-VL (all nodes)**). **X2Edit Classify Instruction** names the kind of edit; connect a **Chat** node to let a language model decide. Its report says how sure it is.
3. Run.

**Text.** FLUX's own CLIP-L and T5 read the instruction. The released adapter was trained with AlignNet and Qwen2.5-VL; this variant saves the 16 GB text model at some cost in following the instruction.

{_FILES}

{_without_download(*_ON_REFERENCE)}""",
    _TITLE_ZH,
    f"""## 说出想改什么
1. **加载图像**：要编辑的图片，任意尺寸。
2. **指令**：用英文；T5 不懂中文（中文请用模板 **X2Edit with Qwen2.5-VL (all nodes)**）。**X2Edit 指令分类**判断编辑的种类；接上**对话**节点可以让语言模型来判断。报告里写着它有多确定。
3. 运行。

**文本。** 指令由 FLUX 自带的 CLIP-L 和 T5 读取。发布的适配器是用 AlignNet 和 Qwen2.5-VL 训练的；这个版本省下 16 GB 的文本模型，但对指令的遵循略差。

{_FILES_ZH}

{_without_download_zh(*_ON_REFERENCE_ZH)}""",
)

_QWEN_VL_FILES = f"""- [Qwen2.5-VL 7B]({_QWEN_VL}) into models/text_encoders as qwen_2.5_vl_7b.safetensors, 16.6 GB
- AlignNet, diffusion_pytorch_model.bin of [X2Edit]({X2EDIT_RELEASE}), into models/x2edit/X2Edit beside the adapter. The page cannot fetch a .bin: move it there."""
_QWEN_VL_FILES_ZH = f"""- [Qwen2.5-VL 7B]({_QWEN_VL})放进 models/text_encoders，名为 qwen_2.5_vl_7b.safetensors，16.6 GB
- AlignNet，即 [X2Edit]({X2EDIT_RELEASE}) 的 diffusion_pytorch_model.bin，与适配器一起放进 models/x2edit/X2Edit。页面不能下载 .bin，请自己移动过去。"""

_WITH_QWEN_VL = Note(
    _TITLE,
    f"""## Say what to change
1. **Load Image**: the picture to edit, of any size.
2. **Instruction**: English or Chinese. **X2Edit Classify Instruction** names the kind of edit; connect a **Chat** node to let a language model decide. Its report says how sure it is.
3. Run.

**Text.** Qwen2.5-VL and X2Edit's AlignNet read the instruction, as the adapter was trained.

## Files
{_QWEN_VL_FILES}
- [FLUX.1 dev]({DEV}) into models/diffusion_models · [autoencoder]({VAE}) into models/vae
- [X2Edit]({X2EDIT_RELEASE}): lora.safetensors and task_embeddings.bin together into models/x2edit/X2Edit""",
    _TITLE_ZH,
    f"""## 说出想改什么
1. **加载图像**：要编辑的图片，任意尺寸。
2. **指令**：中文或英文。**X2Edit 指令分类**判断编辑的种类；接上**对话**节点可以让语言模型来判断。报告里写着它有多确定。
3. 运行。

**文本。** 指令由 Qwen2.5-VL 和 X2Edit 的 AlignNet 读取，与适配器训练时相同。

## 文件
{_QWEN_VL_FILES_ZH}
- [FLUX.1 dev]({DEV})放进 models/diffusion_models · [自编码器]({VAE})放进 models/vae
- [X2Edit]({X2EDIT_RELEASE})：lora.safetensors 和 task_embeddings.bin 一起放进 models/x2edit/X2Edit""",
)

_BEST_X2EDIT = Note(
    _TITLE,
    f"""## Let a vision model pick the seed
**X2Edit Early Filter** begins the edit with six seeds, shows the early results to a judge two at a time, and finishes the best one only. Mode *paper* judges short complete runs, as ICEdit's authors do; *continue* and *halving* waste no step: the winner goes on from where it is and equals KSampler's own picture for that seed.

**The judge** is any vision model behind an OpenAI-compatible address (vLLM, llama.cpp, Ollama). Replace **X2Edit Chat From Endpoint** by *From CLIP* or *From Folder* to run it here. Large models judge better; if none answers, the first candidate stays and the report says so. To choose yourself, put **X2Edit Human Judge** there.

{_FILES}

{_without_download(*_ON_REFERENCE)}""",
    _TITLE_ZH,
    f"""## 让视觉模型挑选种子
**X2Edit 早期筛选**用六个种子开始编辑，把早期结果两张一组交给评审，只完成最好的一个。*paper* 模式像 ICEdit 的作者那样评审步数很少的完整结果；*continue* 和 *halving* 不浪费步数：胜出者从当前位置继续，与 KSampler 用该种子得到的图片相同。

**评审**可以是任何兼容 OpenAI 地址的视觉模型（vLLM、llama.cpp、Ollama）。把 **X2Edit 对话（服务器）**换成 CLIP 或文件夹版本，就在本机运行。大模型判断更准；如果没有回答，会保留第一个候选并在报告里说明。想自己挑选，就换成 **X2Edit 人工评审**。

{_FILES_ZH}

{_without_download_zh(*_ON_REFERENCE_ZH)}""",
)

_BY_HAND = Note(
    _TITLE,
    f"""## Pick the seed yourself
The run pauses after 14 of 28 steps and shows six candidates as cards over the page. Click one, or press its digit; it goes on from where it is. Without an answer the first one is taken after 120 seconds; timeout 0 waits.

A reloaded page shows the cards again. Programs answer over HTTP; the help page of **X2Edit Human Judge** says how.

{_FILES}

{_without_download(*_ON_REFERENCE)}""",
    _TITLE_ZH,
    f"""## 自己挑选种子
运行到 28 步中的第 14 步会暂停，在页面上以卡片显示六个候选。点击一张或按它的数字键，它就从当前位置继续。120 秒没有回答则取第一张；timeout 设为 0 会一直等待。

刷新页面后卡片会再次出现。程序可以通过 HTTP 回答，方法见 **X2Edit 人工评审**的帮助页。

{_FILES_ZH}

{_without_download_zh(*_ON_REFERENCE_ZH)}""",
)

_ICEDIT_PLAIN = Note(
    _TITLE,
    f"""## Edit a picture with ICEdit
1. **Load Image**: the picture to edit, of any size.
2. instruction of **ICEdit Conditioning**: what to change, as it goes on after "exactly the same as on the left but".
3. Run. The result comes back at the source's size.

## Files
{_FILL_FILE}
{_FLUX_BASES}
- [ICEdit, plain]({_PLAIN}): save pytorch_lora_weights.safetensors as ICEdit-normal.safetensors in models/loras

{_without_download("embedded: icedit plain", "ICEdit Diptych", "fill")}""",
    _TITLE_ZH,
    f"""## 用 ICEdit 编辑图片
1. **加载图像**：要编辑的图片，任意尺寸。
2. **ICEdit 条件**的 instruction：用英文说出想改什么，接在 “exactly the same as on the left but” 之后。
3. 运行。结果与原图尺寸相同。

## 文件
{_FILL_FILE_ZH}
{_FLUX_BASES_ZH}
- [ICEdit 普通版]({_PLAIN})：把 pytorch_lora_weights.safetensors 存为 models/loras 里的 ICEdit-normal.safetensors

{_without_download_zh("embedded: icedit plain", "ICEdit 双联画", "fill")}""",
)

_ICEDIT_EXPERTS = Note(
    _TITLE,
    f"""## ICEdit with its experts
Its 57 routed layers choose one expert for every token while sampling. The standard LoRA loader drops them: use **Load X2Edit Adapter**.

The sampling side is the reference's: shift by size, euler, 28 steps, guidance 50, 512 T5 tokens. **ICEdit Noise** draws a seed's noise as ComfyUI or as ICEdit's script does. Set stitch to *feathered* to keep every untouched pixel of the source.

{_EXPERT_FILES}

{_without_download(*_ON_DIPTYCH)}""",
    _TITLE_ZH,
    f"""## 带专家的 ICEdit
它有 57 个路由层，采样时为每个词元选择一个专家。标准的 LoRA 加载器会丢掉它们：请用**加载 X2Edit 适配器**。

采样方式与参考实现一致：按尺寸偏移、euler、28 步、guidance 50、512 个 T5 词元。**ICEdit 噪声**可以按 ComfyUI 或 ICEdit 脚本的方式生成某个种子的噪声。把 stitch 设为 *feathered*，没有改动的像素就与原图完全相同。

{_EXPERT_FILES_ZH}

{_without_download_zh(*_ON_DIPTYCH_ZH)}""",
)

_BEST_ICEDIT = Note(
    _TITLE,
    f"""## ICEdit with its early filter
As in the paper: six seeds run a complete schedule of 10 steps, a vision model compares the results, and the best seed is run again for 50 steps: 110 evaluations instead of 300 for six full edits. The authors used Qwen2.5-VL-72B and found that models of 7 B often misjudge.

With mode *continue* the winner goes on from its tenth step instead: 100 evaluations, and nothing is thrown away but the losers.

{_EXPERT_FILES}

{_without_download(*_ON_DIPTYCH)}""",
    _TITLE_ZH,
    f"""## 带早期筛选的 ICEdit
与论文相同：六个种子各走完 10 步的完整日程，视觉模型比较结果，最好的种子再跑 50 步：共 110 次计算，而六次完整编辑要 300 次。作者用的是 Qwen2.5-VL-72B，并发现 7B 的模型常常判断错误。

用 *continue* 模式时，胜出者从第十步继续：100 次计算，只丢掉落选者。

{_EXPERT_FILES_ZH}

{_without_download_zh(*_ON_DIPTYCH_ZH)}""",
)

_TURNS = Note(
    _TITLE,
    f"""## One edit after another
Each turn edits the result of the one before. Turns that change a part are stitched: outside the edit every pixel stays the source's own, so nothing drifts however many turns there are. A turn that changes the whole picture, as the last one, takes the whole panel: set stitch to *off* there.

Seeds are fixed, so that a changed instruction only runs from its own turn on. To go on, copy a turn and connect the picture of the last.

{_EXPERT_FILES}

{_without_download(*_ON_DIPTYCH)}""",
    _TITLE_ZH,
    f"""## 一次接一次地编辑
每一轮编辑上一轮的结果。只改一部分的轮次会拼回原图：编辑之外的每个像素都保持不变，所以无论多少轮都不会漂移。像最后一轮那样改动整张图片时，要用整个画面：把 stitch 设为 *off*。

种子是固定的，改了某一轮的指令，只会从那一轮开始重新运行。想继续，就复制一轮并接上最后的图片。

{_EXPERT_FILES_ZH}

{_without_download_zh(*_ON_DIPTYCH_ZH)}""",
)

_FREE = Note(
    _TITLE,
    f"""## ICEdit without its adapters
Two forms from the paper, for comparison and for study; the adapters edit better and keep the rest of the picture better.

**Above:** FLUX.1 Fill paints the masked half from the sentence alone.

**Below:** **ICEdit Invert** finds the noise from which FLUX.1 dev would paint the source, and keeps attention values on the way. **ICEdit Inject** puts them back into the source's panel while the other panel is painted. Its report says how well the picture comes back without an edit. Give both the same steps, width and side.

Keeping values takes main memory: about 6 MiB for each layer and step at 512 × 512. layers_start and the other shares say which ones; memory_limit refuses too many.

## Files
{_FILL_FILE}
- [FLUX.1 dev]({DEV}), for the lower half
{_FLUX_BASES}""",
    _TITLE_ZH,
    f"""## 不用适配器的 ICEdit
论文里的两种形式，用于比较和研究；适配器编辑得更好，其余部分也保持得更好。

**上半：** FLUX.1 Fill 只凭一句话画出被遮住的一半。

**下半：** **ICEdit 反演**找出 FLUX.1 dev 会画出原图的噪声，并沿途保存注意力的值。**ICEdit 注入**在画另一半时把它们放回原图的画面。报告说明不编辑时原图能还原得多好。两者的步数、宽度和左右要一致。

保存这些值要占内存：512 × 512 时每层每步约 6 MiB。layers_start 等比例决定保存哪些；memory_limit 会拒绝过多的。

## 文件
{_FILL_FILE_ZH}
- [FLUX.1 dev]({DEV})，下半部分使用
{_FLUX_BASES_ZH}""",
)

BY_TEMPLATE = {
    "X2Edit (all nodes)": _X2EDIT,
    "X2Edit automatic (all nodes)": _AUTOMATIC,
    "X2Edit with Qwen2.5-VL (all nodes)": _WITH_QWEN_VL,
    "Best seed X2Edit (all nodes)": _BEST_X2EDIT,
    "Pick the seed yourself (all nodes)": _BY_HAND,
    "ICEdit plain (all nodes)": _ICEDIT_PLAIN,
    "ICEdit experts (all nodes)": _ICEDIT_EXPERTS,
    "Best seed ICEdit (all nodes)": _BEST_ICEDIT,
    "ICEdit several turns (all nodes)": _TURNS,
    "ICEdit without adapter (all nodes)": _FREE,
}
