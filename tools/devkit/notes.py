"""What the notes of the templates say, in English and in Chinese; the page shows the one of its language."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    title: str
    english: str
    chinese_title: str
    chinese: str


HUGGING_FACE = "https://huggingface.co"
DEV = f"{HUGGING_FACE}/black-forest-labs/FLUX.1-dev"
FILL = f"{HUGGING_FACE}/black-forest-labs/FLUX.1-Fill-dev"
X2EDIT_RELEASE = f"{HUGGING_FACE}/OPPOer/X2Edit"
ICEDIT_EXPERTS = f"{HUGGING_FACE}/sanaka87/ICEdit-MoE-LoRA"
TEXTS = f"{HUGGING_FACE}/comfyanonymous/flux_text_encoders"
VAE = f"{HUGGING_FACE}/Comfy-Org/Lumina_Image_2.0_Repackaged"

TRY_X2EDIT = Note(
    "Try it now · miniature, 128 px",
    """## Press Run
**X2Edit Compare** then shows the picture, its edit and the exact answer: drag the line, press T for the answer.

- **X2Edit Demo Scene** draws the picture and says what to change. Another task or seed, another edit.
- Everything comes with the pack: models of 8 million parameters for pictures of **128 px**. Removals, tones and styles mostly succeed; finer edits often fail.
- A double click on the box shows how it is made.

## For real pictures
Open the template **Image Edit (X2Edit)**. Its note says which files go where.""",
    "立即试用 · 微型模型，128 像素",
    """## 点击“运行”
**X2Edit 对比**会显示原图、编辑结果和标准答案：拖动分隔线，按 T 切换到标准答案。

- **X2Edit 演示场景**画出图片并给出指令。换一个任务或种子，就是另一个编辑。
- 一切都随节点包附带：800 万参数的模型，适用于 **128 像素**的图片。移除、色调和风格大多成功，更细的编辑常常失败。
- 双击方框可以看到它的内部。

## 编辑真实图片
请打开模板 **Image Edit (X2Edit)**，说明里写了每个文件放在哪里。""",
)

TRY_ICEDIT = Note(
    "Try it now · miniature, 128 px",
    """## Press Run
**X2Edit Compare** then shows the picture, its edit and the exact answer: drag the line, press T for the answer.

- ICEdit puts the picture into the left half of a canvas and lets FLUX Fill paint the right half as a sentence says.
- Everything comes with the pack: models of 8 million parameters for panels of **128 px**. On diptychs they do styles; most of the rest fails.
- A double click on the box shows how it is made.

## For real pictures
Open the template **Image Edit (ICEdit)**. Its note says which files go where.""",
    "立即试用 · 微型模型，128 像素",
    """## 点击“运行”
**X2Edit 对比**会显示原图、编辑结果和标准答案：拖动分隔线，按 T 切换到标准答案。

- ICEdit 把图片放在画布的左半边，让 FLUX Fill 按一句话画出右半边。
- 一切都随节点包附带：800 万参数的模型，适用于 **128 像素**的画面。在双联画上能做风格，其余大多失败。
- 双击方框可以看到它的内部。

## 编辑真实图片
请打开模板 **Image Edit (ICEdit)**，说明里写了每个文件放在哪里。""",
)

TEACH = Note(
    "Teach it something new · miniature, 128 px",
    """## Press Run: an adapter is trained, in about a minute and a half
The embedded models have never seen the color channels of a picture rotated. **Train X2Edit Adapter** teaches it to them on scenes that are drawn for it; then they do it on a picture that was not among those. **X2Edit Compare** shows before, after and, by T, the exact answer.

- **Its file** says where the adapter lies: **models/x2edit/my_first_edit.safetensors**. Run again, and the next one is **my_first_edit_2**: nothing is overwritten.
- Another edit: change **lesson** in **A picture it never saw** and **[data] lesson** in the settings **further** below the training node, both to inversion, levels, solarise, two colours, grid, mirror or mosaic.
- More steps, a better edit. Cancelling keeps what was learnt.

## Your own edit, your own model
Connect your model, CLIP and VAE loaders, name a folder of pairs in **dataset**, and set steps, rank and size as docs/training.md tells for your card.""",
    "教它新的编辑 · 微型模型，128 像素",
    """## 点击“运行”：训练一个适配器，约一分半钟
内置模型从未见过颜色通道轮换的图片。**训练 X2Edit 适配器**用现画的场景教会它们，然后在一张没有学过的图片上做这个编辑。**X2Edit 对比**显示前、后，按 T 显示标准答案。

- **Its file** 显示适配器的位置：**models/x2edit/my_first_edit.safetensors**。再次运行，下一个叫 **my_first_edit_2**，不会覆盖任何文件。
- 换一个编辑：把场景节点的 **lesson** 和训练节点 **further** 里 **[data]** 的 lesson 都改成 inversion、levels、solarise、two colours、grid、mirror 或 mosaic。
- 步数越多，编辑越好。取消会保留已学到的内容。

## 你自己的编辑和模型
连接你的模型、CLIP 和 VAE 加载器，在 **dataset** 里写图片对的文件夹，步数、秩和尺寸按 docs/training.md 里适合你显卡的设置。""",
)

_X2EDIT_TREE = """```
models/
├ diffusion_models/ flux1-dev.safetensors   23.8 GB
├ text_encoders/    clip_l.safetensors       0.2 GB
│                   t5xxl_fp16.safetensors   9.8 GB
├ vae/              ae.safetensors           0.3 GB
└ x2edit/X2Edit/    lora.safetensors         2.0 GB
                    task_embeddings.bin      0.1 MB
```"""
X2EDIT_FILES = f"""{_X2EDIT_TREE}
- [FLUX.1 dev]({DEV}) (accept its licence there; not for commercial use)
- [CLIP-L and T5]({TEXTS}) · [autoencoder]({VAE})
- [X2Edit]({X2EDIT_RELEASE}): both files into one folder. A browser saves them to Downloads: move them."""
X2EDIT_FILES_ZH = f"""{_X2EDIT_TREE}
- [FLUX.1 dev]({DEV})（先在页面上接受许可；不可商用）
- [CLIP-L 与 T5]({TEXTS}) · [自编码器]({VAE})
- [X2Edit]({X2EDIT_RELEASE})：两个文件放进同一文件夹。浏览器会存到“下载”，请移动过去。"""
_LESS_MEMORY = """## Less memory
Inside the box set weight_dtype of the model loader to fp8_e4m3fn: 11.9 GB instead of 23.8 GB of weights. A GGUF file of the base with ComfyUI-GGUF's loader works too. With little graphics memory start ComfyUI with --lowvram."""
_LESS_MEMORY_ZH = """## 显存不够
在方框里把模型加载器的 weight_dtype 设为 fp8_e4m3fn：权重从 23.8 GB 降到 11.9 GB。也可以用 ComfyUI-GGUF 的加载器加载 GGUF 文件。显存很小时用 --lowvram 启动 ComfyUI。"""

X2EDIT = Note(
    "Image Edit (X2Edit)",
    f"""## Edit a picture by a sentence
1. **Load Image**: any size; the result has the same.
2. Say what to change, in English. The kind of edit is found by itself; if it reads wrong, choose it in task.
3. Run. Drag the line in **X2Edit Compare**.

## Files
{X2EDIT_FILES}

{_LESS_MEMORY}""",
    "图片编辑 (X2Edit)",
    f"""## 用一句话编辑图片
1. **加载图像**：任意尺寸，结果尺寸相同。
2. 用英文说出想改什么（中文请用 Qwen2.5-VL 的模板）。编辑种类会自动判断；判断错了就在 task 里选择。
3. 运行，在 **X2Edit 对比**里拖动分隔线。

## 文件
{X2EDIT_FILES_ZH}

{_LESS_MEMORY_ZH}""",
)

_ICEDIT_TREE = """```
models/
├ diffusion_models/ flux1-fill-dev.safetensors  23.8 GB
├ text_encoders/    clip_l.safetensors           0.2 GB
│                   t5xxl_fp16.safetensors       9.8 GB
├ vae/              ae.safetensors               0.3 GB
└ loras/            ICEdit-MoE.safetensors       0.4 GB
```"""
_ICEDIT_FILES = f"""{_ICEDIT_TREE}
- [FLUX.1 Fill dev]({FILL}) (accept its licence there; not for commercial use)
- [CLIP-L and T5]({TEXTS}) · [autoencoder]({VAE})
- [ICEdit with experts]({ICEDIT_EXPERTS}): pytorch_lora_weights.safetensors, saved under the name above (not for commercial use)"""
_ICEDIT_FILES_ZH = f"""{_ICEDIT_TREE}
- [FLUX.1 Fill dev]({FILL})（先在页面上接受许可；不可商用）
- [CLIP-L 与 T5]({TEXTS}) · [自编码器]({VAE})
- [ICEdit 专家版]({ICEDIT_EXPERTS})：pytorch_lora_weights.safetensors，按上面的名字保存（不可商用）"""

ICEDIT = Note(
    "Image Edit (ICEdit)",
    f"""## Edit a picture by a sentence
1. **Load Image**: any size; the result has the same.
2. Say what to change, as it goes on after "the same as on the left but": "the dress is blue".
3. Run. Drag the line in **X2Edit Compare**.

## Files
{_ICEDIT_FILES}

{_LESS_MEMORY}""",
    "图片编辑 (ICEdit)",
    f"""## 用一句话编辑图片
1. **加载图像**：任意尺寸，结果尺寸相同。
2. 用英文说出想改什么，接在 “the same as on the left but” 之后，例如 “the dress is blue”。
3. 运行，在 **X2Edit 对比**里拖动分隔线。

## 文件
{_ICEDIT_FILES_ZH}

{_LESS_MEMORY_ZH}""",
)

ONLY_X2EDIT = Note(
    "Only here (X2Edit)",
    f"""## Change only one place
1. Right-click **Load Image** and open the mask editor: paint over what may change.
2. Say what to change there.
3. Run. Outside the paint the result is your picture, pixel for pixel. The line in **X2Edit Compare** shows it; M hides the tint.

Without paint the whole edit is kept.

## Files
{X2EDIT_FILES}""",
    "只改这里 (X2Edit)",
    f"""## 只改一处
1. 右键点击**加载图像**，打开遮罩编辑器，涂出允许改动的地方。
2. 说出那里想改什么。
3. 运行。涂抹之外与原图逐像素相同。在 **X2Edit 对比**里拖动分隔线查看，按 M 隐藏着色。

没有涂抹时保留整个编辑结果。

## 文件
{X2EDIT_FILES_ZH}""",
)

ONLY_ICEDIT = Note(
    "Only here (ICEdit)",
    f"""## Change only one place
1. Right-click **Load Image** and open the mask editor: paint over what may change.
2. Say what to change there, as it goes on after "the same as on the left but".
3. Run. The painted part comes from the edit, with a soft seam; the rest is your picture, pixel for pixel.

Without paint the part that changed is found by itself.

## Files
{_ICEDIT_FILES}""",
    "只改这里 (ICEdit)",
    f"""## 只改一处
1. 右键点击**加载图像**，打开遮罩编辑器，涂出允许改动的地方。
2. 用英文说出那里想改什么，接在 “the same as on the left but” 之后。
3. 运行。涂抹的部分来自编辑结果，边缘柔和；其余与原图逐像素相同。

没有涂抹时会自动找出改动的部分。

## 文件
{_ICEDIT_FILES_ZH}""",
)

SENTENCES = Note(
    "What you can say",
    """- **remove** take the dog away · remove the cup on the left · erase the text on the sign
- **add** add a red umbrella · put a cat on the sofa · give him sunglasses
- **replace** replace the car with a bus · turn the apple into an orange · swap the chair for a bench
- **color** make the dress blue · paint the wall green · turn the hair blonde
- **material** make the table of marble · turn the jacket to leather · a wooden cup
- **background** put them on a beach · change the background to a library · a snowy forest behind her
- **style** make it a watercolor · as a pencil sketch · in the style of an anime
- **tone** make it evening · a warm, golden light · turn it into a foggy morning
- **action** let him wave · make the dog sit · she looks to the left
- **portrait** make her smile · smooth the skin · older by twenty years
- **text** write OPEN on the sign · replace SALE by SOLD · remove the title
- **camera** zoom in on the face · move the camera to the left · seen from above
- **reasoning** what if the ice melted · show it after rain · the candle burnt down
- **low level** show its edges · a depth map · segment the people
- **subject** this cup on a beach · the same dog in a car · this toy held by a child""",
    "可以怎么说",
    """- **移除** take the dog away · remove the cup on the left · erase the text on the sign
- **添加** add a red umbrella · put a cat on the sofa · give him sunglasses
- **替换** replace the car with a bus · turn the apple into an orange · swap the chair for a bench
- **颜色** make the dress blue · paint the wall green · turn the hair blonde
- **材质** make the table of marble · turn the jacket to leather · a wooden cup
- **背景** put them on a beach · change the background to a library · a snowy forest behind her
- **风格** make it a watercolor · as a pencil sketch · in the style of an anime
- **色调** make it evening · a warm, golden light · turn it into a foggy morning
- **动作** let him wave · make the dog sit · she looks to the left
- **人像** make her smile · smooth the skin · older by twenty years
- **文字** write OPEN on the sign · replace SALE by SOLD · remove the title
- **相机** zoom in on the face · move the camera to the left · seen from above
- **推理** what if the ice melted · show it after rain · the candle burnt down
- **底层视觉** show its edges · a depth map · segment the people
- **主体** this cup on a beach · the same dog in a car · this toy held by a child""",
)

_QWEN_BASE = f"{HUGGING_FACE}/Comfy-Org/Qwen-Image_ComfyUI"
_LIGHTNING = f"{HUGGING_FACE}/lightx2v/Qwen-Image-Lightning"
_QWEN_FILES = """models/
├ diffusion_models/   qwen_image_fp8_e4m3fn.safetensors        20.4 GB
├ text_encoders/      qwen_2.5_vl_7b_fp8_scaled.safetensors     9.4 GB
├ vae/                qwen_image_vae.safetensors                0.3 GB
└ x2edit/X2Edit-Qwen/ lora.safetensors, task_embeddings.bin     2.5 GB"""
_QWEN_LORA = "└ loras/              Qwen-Image-Lightning-8steps-V1.0.safetensors"


def _qwen_files(more: str = "") -> str:
    shown = _QWEN_FILES.replace("└", "├") + f"\n{more}" if more else _QWEN_FILES
    return f"```\n{shown}\n```"


QWEN = Note(
    "X2Edit on Qwen-Image",
    f"""## Edit a picture with X2Edit on Qwen-Image
1. **Load Image**: any size; the result has the same.
2. **Instruction**: what to change, in English or Chinese. **X2Edit Task**: the kind of edit.
3. Run: 40 steps at cfg 4, as the authors do. Both branches see the picture; **X2Edit Guidance Rescale** keeps the guidance in bounds.

## Files
{_qwen_files()}
- [Qwen-Image, its text encoder and autoencoder]({_QWEN_BASE}), Apache-2.0
- [X2Edit]({X2EDIT_RELEASE}), folder **model_qwen_image**: both files into one folder

To try it without any download, replace the loaders by **X2Edit Demo Models** with base *qwen*, choose the adapter *embedded: x2edit qwen*, and set width and height of **X2Edit Qwen Text Encode** and of both **X2Edit Reference** to 64.

Qwen-Image-Edit works as a base too, but the adapter was not trained there.""",
    "X2Edit 用于 Qwen-Image",
    f"""## 用 X2Edit 在 Qwen-Image 上编辑图片
1. **加载图像**：任意尺寸，结果尺寸相同。
2. **指令**：用中文或英文说出想改什么。**X2Edit 任务**：编辑种类。
3. 运行：与作者一致，40 步，cfg 为 4。两个分支都能看到原图；**X2Edit 引导重缩放**不让引导过强。

## 文件
{_qwen_files()}
- [Qwen-Image 及其文本编码器与自编码器]({_QWEN_BASE})，Apache-2.0
- [X2Edit]({X2EDIT_RELEASE}) 的 **model_qwen_image** 文件夹：两个文件放进同一文件夹

不想下载也能试：把加载器换成 **X2Edit 演示模型**（base 选 *qwen*），适配器选 *embedded: x2edit qwen*，并把 **X2Edit Qwen 文本编码**和两个 **X2Edit 参考图**的 width、height 设为 64。

基础模型也可以用 Qwen-Image-Edit，但适配器不是在它上面训练的。""",
)

QWEN_LIGHTNING = Note(
    "X2Edit on Qwen-Image, 8 steps",
    f"""## Edit a picture with X2Edit on Qwen-Image, in 8 steps
As the template *Qwen-Image (all nodes)*, with a Lightning LoRA between the model and the adapter: 8 steps at cfg 1, a tenth of the work. At cfg 1 the negative branch is not computed.

## Files
{_qwen_files(_QWEN_LORA)}
- [Qwen-Image, its text encoder and autoencoder]({_QWEN_BASE}), Apache-2.0
- [X2Edit]({X2EDIT_RELEASE}), folder **model_qwen_image**: both files into one folder
- [Lightning LoRA]({_LIGHTNING}), Apache-2.0; not by X2Edit's authors, who did not train with it""",
    "X2Edit 用于 Qwen-Image，8 步",
    f"""## 用 X2Edit 在 Qwen-Image 上编辑图片，只要 8 步
与模板 *Qwen-Image (all nodes)* 相同，只是在模型和适配器之间加了 Lightning LoRA：8 步，cfg 为 1，计算量约为十分之一。cfg 为 1 时不计算负分支。

## 文件
{_qwen_files(_QWEN_LORA)}
- [Qwen-Image 及其文本编码器与自编码器]({_QWEN_BASE})，Apache-2.0
- [X2Edit]({X2EDIT_RELEASE}) 的 **model_qwen_image** 文件夹：两个文件放进同一文件夹
- [Lightning LoRA]({_LIGHTNING})，Apache-2.0；不是 X2Edit 作者的，他们训练时没有用它""",
)

_PICTURE = f"{HUGGING_FACE}/InstantX/FLUX.1-dev-IP-Adapter"
_SIGLIP = f"{HUGGING_FACE}/Comfy-Org/sigclip_vision_384"
PICTURE = Note(
    "Edit like a picture",
    f"""## Edit a picture, and show with another what to draw
1. **Picture to edit**, **Instruction** and **X2Edit Task**: what to change, and where.
2. **Picture that says what to draw**: a material, a style, a kind of thing. It says what, not where: **mask** of **X2Edit Image Tokens** keeps it to a place.
3. Run. **image_strength** of **Apply X2Edit Adapter** is how much the second picture counts; 0 is without.

## Files beside those of *X2Edit (all nodes)*
- [ip-adapter.bin]({_PICTURE}) of InstantX, 5.3 GB, into **models/x2edit**: **NON-COMMERCIAL**, as FLUX.1 dev is. A browser saves it to Downloads: move it.
- [sigclip_vision_patch14_384.safetensors]({_SIGLIP}), 0.9 GB, into **models/clip_vision**

XLabs' **ip_adapter.safetensors** works as well, with CLIP ViT-L/14 in *Load CLIP Vision*; it is non-commercial too.""",
    "照着一张图片编辑",
    f"""## 编辑一张图片，并用另一张说明要画什么
1. **要编辑的图片**、**指令**和 **X2Edit 任务**：改什么、改哪里。
2. **说明要画什么的图片**：材质、风格、某种东西。它只说明是什么，不说明在哪里：用 **X2Edit 图片提示** 的 **mask** 把它限制在一处。
3. 运行。**应用 X2Edit 适配器** 的 **image_strength** 是第二张图的分量；0 等于没有它。

## 除 *X2Edit (all nodes)* 的文件之外
- InstantX 的 [ip-adapter.bin]({_PICTURE})，5.3 GB，放进 **models/x2edit**：**不可商用**，与 FLUX.1 dev 一样。浏览器会存到“下载”，请移动过去。
- [sigclip_vision_patch14_384.safetensors]({_SIGLIP})，0.9 GB，放进 **models/clip_vision**

也可以用 XLabs 的 **ip_adapter.safetensors**，这时 *加载 CLIP 视觉* 要选 CLIP ViT-L/14；它同样不可商用。""",
)

ALL = (
    TRY_X2EDIT,
    TRY_ICEDIT,
    TEACH,
    X2EDIT,
    ICEDIT,
    ONLY_X2EDIT,
    ONLY_ICEDIT,
    SENTENCES,
    QWEN,
    QWEN_LIGHTNING,
    PICTURE,
)
