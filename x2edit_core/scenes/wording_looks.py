"""Sentences of edits without a free object: tones, camera, conversions, faces and puzzles."""

from __future__ import annotations

from .wording import Wording

TONE: dict[str, Wording] = {
    "warm": Wording(
        ("Make the picture warmer", "Give it a warm tone", "Change the tone to warm, golden light"),
        ("Give the picture a warm, golden tone",),
        ("让色调变暖", "把图片变成暖色调", "改成温暖的金色光线"),
        ("把色调变成温暖的金色",),
    ),
    "cold": Wording(
        ("Make the picture colder", "Give it a cold, blue tone", "Change the tone to cold"),
        ("Give the picture a cold tone",),
        ("让色调变冷", "把图片变成冷色调", "改成冷冷的蓝色光线"),
        ("把色调变成冷冷的蓝色",),
    ),
    "night": Wording(
        ("Make it night", "Make the picture dark, as at night", "Change the light to moonlight"),
        ("Make the light dark, as at night",),
        ("把画面变成夜晚", "让光线变暗，像夜晚一样", "改成月光的色调"),
        ("让画面变暗，像夜晚一样",),
    ),
    "bright": Wording(
        ("Make the picture brighter", "Add much more light", "Change the tone to bright"),
        ("Make it brighter with more light",),
        ("让画面变亮", "把图片调亮", "增加亮度，光线更多"),
        ("把画面调亮，光线更多",),
    ),
    "black and white": Wording(
        ("Make it black and white", "Turn the picture into a black and white photo", "Take all color away"),
        ("Turn it black and white",),
        ("变成黑白照片", "去掉所有颜色", "把图片变成黑白的"),
        ("把图片变成黑白照片",),
    ),
    "sepia": Wording(
        ("Give it a sepia tone", "Make it look like an old photo", "Change the tone to sepia brown"),
        ("Make the picture look like an old sepia photo",),
        ("变成复古的棕褐色调", "做成老照片的样子", "改成棕褐色"),
        ("变成棕褐色的老照片",),
    ),
    "contrast": Wording(
        ("Increase the contrast", "Make the contrast much stronger", "Give it more contrast"),
        ("Make it stronger with more contrast",),
        ("增加对比度", "让对比更强", "提高画面的对比度"),
        ("让画面的对比度更强",),
    ),
    "faded": Wording(
        ("Make the picture faded", "Give it faded, pale colors", "Make the tone pale and soft"),
        ("Give the picture a faded, soft tone",),
        ("让颜色变淡，像褪色一样", "改成柔和的淡色调", "把图片变成褪色的"),
        ("把颜色变成柔和的，像褪色一样",),
    ),
    "negative": Wording(
        ("Invert all colors", "Make a negative of the picture", "Turn it into a photo negative"),
        ("Invert the colors of the picture",),
        ("反转所有颜色", "变成底片", "把图片做成负片，颜色相反"),
        ("把所有颜色反转，做成底片",),
    ),
}

CAMERA: dict[str, Wording] = {
    "in": Wording(
        ("Zoom in", "Move the camera closer", "Zoom in on the middle of the picture"),
        ("Move in closer with the camera",),
        ("拉近镜头", "放大画面", "镜头靠近一些"),
        ("把镜头拉近一些",),
    ),
    "out": Wording(
        ("Zoom out", "Move the camera back", "Show more of the surroundings"),
        ("Zoom out, show more",),
        ("拉远镜头", "缩小画面", "镜头退后，显示更多周围的景物"),
        ("把镜头拉远，显示更多景物",),
    ),
    "to": Wording(
        ("Zoom in on {it}", "Move the camera closer to {it}", "Show {it} from close by"),
        ("Move in close on {it}", "Zoom closer to {it}"),
        ("镜头靠近{it}", "放大{it}", "给{it}一个特写"),
        ("把镜头拉近，放大{it}",),
    ),
    "left": Wording(
        ("Move the camera to the left", "Pan left", "Turn the camera left"),
        ("Pan the camera to the left",),
        ("镜头向左移", "向左移动相机", "把镜头转向左边"),
        ("相机向左移",),
    ),
    "right": Wording(
        ("Move the camera to the right", "Pan right", "Turn the camera right"),
        ("Pan the camera to the right",),
        ("镜头向右移", "向右移动相机", "把镜头转向右边"),
        ("相机向右移",),
    ),
    "up": Wording(
        ("Move the camera up", "Tilt the camera up", "Look higher up"),
        ("Tilt up the camera to look higher",),
        ("镜头向上移", "向上移动相机", "把镜头抬高"),
        ("相机向上抬高",),
    ),
    "down": Wording(
        ("Move the camera down", "Tilt the camera down", "Look lower down"),
        ("Tilt down the camera to look lower",),
        ("镜头向下移", "向下移动相机", "把镜头压低"),
        ("相机向下压低",),
    ),
    "clockwise": Wording(
        ("Rotate the picture clockwise", "Roll the scene to the right", "Rotate the view clockwise a little"),
        ("Rotate the scene a little to the right",),
        ("把画面顺时针转一点", "画面向右倾斜", "顺时针旋转画面"),
        ("顺时针旋转一点",),
    ),
    "counterclockwise": Wording(
        (
            "Rotate the picture counterclockwise",
            "Roll the scene to the left",
            "Rotate the view counterclockwise a little",
        ),
        ("Rotate the scene a little to the left",),
        ("把画面逆时针转一点", "画面向左倾斜", "逆时针旋转画面"),
        ("逆时针旋转一点",),
    ),
}

LOW_LEVEL: dict[str, Wording] = {
    "edges": Wording(
        ("Turn this picture into a Canny edge map", "Show only the edges, white on black", "Detect the edges"),
        ("Turn it into an edge map, white on black",),
        ("把图片转换成边缘图", "只显示边缘，黑底白线", "做Canny边缘检测"),
        ("转换成黑底白线的边缘图",),
    ),
    "lines": Wording(
        ("Turn this picture into a line drawing", "Show only the lines, black on white", "Draw only the outlines"),
        ("Turn it into a line drawing, black on white",),
        ("把图片转换成线稿", "只画线条，白底黑线", "提取轮廓线"),
        ("转换成白底黑线的线稿",),
    ),
    "depth": Wording(
        ("Turn this picture into a depth map", "Show the depth: near is bright", "Estimate the depth of this picture"),
        ("Show the depth map of this picture",),
        ("把图片转换成深度图", "显示深度，近处更亮", "估计这张图的深度"),
        ("显示这张图的深度图",),
    ),
    "mask": Wording(
        ("Turn this picture into a mask of the objects", "Show all objects white on black", "Segment the objects"),
        ("Show a mask of all objects",),
        ("生成物体的掩码图", "把所有物体显示成白色，背景黑色", "分割所有物体"),
        ("生成所有物体的白色掩码图",),
    ),
    "noisy": Wording(
        ("Remove the noise", "Clean up the noise in this picture", "Denoise this picture"),
        ("Clean this picture, remove the noise",),
        ("去除噪点", "给图片降噪", "把画面的噪点清理干净"),
        ("把图片的噪点去除干净",),
    ),
    "blurred": Wording(
        ("Make the picture sharp", "Remove the blur", "Sharpen this blurred picture"),
        ("Remove the blur, make this picture sharp",),
        ("让图片变清晰", "去除模糊", "把模糊的图片变清晰"),
        ("去除模糊，让图片清晰",),
    ),
    "scratched": Wording(
        ("Repair the scratches", "Remove the gray scratches from this picture", "Restore the scratched picture"),
        ("Restore this picture, repair the gray scratches",),
        ("修复划痕", "去除图片上的灰色划痕", "修复这张有划痕的照片"),
        ("修复图片上的灰色划痕",),
    ),
    "draw": Wording(
        (
            "Turn these lines into a picture: {items} on {place}",
            "Color this line drawing as {items} in front of {place}",
        ),
        ("Turn this line drawing into a picture: {items} in front of {place}",),
        ("给线稿上色：{items}，背景是{place}", "把线条变成图片：{items}在{place}前面"),
        ("把线稿变成图片：{items}，背景是{place}",),
    ),
}

PORTRAIT: dict[str, Wording] = {
    "smile": Wording(
        ("Make {it} smile", "Give {it} a happy smile", "Let {it} look happy"),
        ("Let {it} smile",),
        ("让{it}微笑", "给{it}一个开心的笑容", "让{it}看起来很开心"),
        ("让{it}开心地微笑",),
    ),
    "sad": Wording(
        ("Make {it} look sad", "Give {it} a sad mouth", "Let {it} be sad"),
        ("Let {it} look sad",),
        ("让{it}看起来很难过", "让{it}难过", "把{it}变成难过的表情"),
        ("让{it}变成难过的表情",),
    ),
    "open mouth": Wording(
        ("Open the mouth of {it}", "Let {it} open the mouth", "Make {it} look surprised with an open mouth"),
        ("Make {it} open the mouth",),
        ("让{it}张开嘴", "把{it}的嘴张开", "让{it}惊讶地张开嘴"),
        ("把{it}变成张开嘴的表情",),
    ),
    "close eyes": Wording(
        ("Close the eyes of {it}", "Let {it} close the eyes", "Make {it} sleep with closed eyes"),
        ("Make {it} close the eyes",),
        ("让{it}闭上眼睛", "把{it}的眼睛闭上"),
        ("把{it}变成闭上眼睛的",),
    ),
    "open eyes": Wording(
        ("Open the eyes of {it}", "Let {it} open the eyes", "Make {it} look awake with open eyes"),
        ("Make {it} open the eyes",),
        ("让{it}睁开眼睛", "把{it}的眼睛睁开"),
        ("把{it}变成睁开眼睛的",),
    ),
    "glasses": Wording(
        ("Put glasses on {it}", "Give {it} glasses", "Let {it} wear glasses"),
        ("Make {it} wear glasses",),
        ("给{it}戴上眼镜", "让{it}戴眼镜"),
        ("把眼镜给{it}戴上",),
    ),
    "sunglasses": Wording(
        ("Put sunglasses on {it}", "Give {it} dark sunglasses", "Let {it} wear sunglasses"),
        ("Make {it} wear dark sunglasses",),
        ("给{it}戴上墨镜", "让{it}戴墨镜"),
        ("把墨镜给{it}戴上",),
    ),
    "no glasses": Wording(
        ("Take off the glasses of {it}", "Remove the glasses from {it}", "!{it} should wear no glasses"),
        ("Take the glasses off {it}",),
        ("摘掉{it}的眼镜", "去掉{it}的眼镜", "让{it}不戴眼镜"),
        ("把{it}的眼镜摘掉",),
    ),
    "cap": Wording(
        ("Put a red cap on {it}", "Give {it} a red cap", "Let {it} wear a cap"),
        ("Make {it} wear a red cap",),
        ("给{it}戴上红色帽子", "让{it}戴帽子"),
        ("把红色帽子给{it}戴上",),
    ),
    "crown": Wording(
        ("Put a crown on {it}", "Give {it} a golden crown", "Let {it} wear a crown"),
        ("Make {it} wear a golden crown",),
        ("给{it}戴上皇冠", "让{it}戴金色皇冠"),
        ("把金色皇冠给{it}戴上",),
    ),
    "no hat": Wording(
        ("Take off the hat of {it}", "Remove the hat from {it}", "!{it} should wear no hat"),
        ("Take the hat off {it}",),
        ("摘掉{it}头上的帽子", "让{it}头上什么都不戴"),
        ("把{it}头上的帽子摘掉",),
    ),
    "beard": Wording(
        ("Give {it} a beard", "Let {it} grow a beard", "Add a beard to {it}"),
        ("Make {it} grow a beard",),
        ("给{it}加上胡子", "让{it}长胡子"),
        ("让{it}长上胡子",),
    ),
    "shave": Wording(
        ("Shave {it}", "Remove the beard from {it}", "Take the beard off {it}"),
        ("Shave off the beard of {it}",),
        ("给{it}刮胡子", "去掉{it}的胡子"),
        ("把{it}的胡子刮掉",),
    ),
    "clear skin": Wording(
        ("Remove the spots from the skin of {it}", "Retouch the skin of {it}", "Give {it} clear skin without spots"),
        ("Retouch {it}, remove the spots",),
        ("去掉{it}脸上的斑点", "给{it}磨皮", "让{it}的皮肤干净"),
        ("把{it}脸上的斑点去掉",),
    ),
    "blush": Wording(
        ("Give {it} rosy cheeks", "Add rosy make-up to the cheeks of {it}", "Let {it} blush"),
        ("Make {it} blush with rosy cheeks",),
        ("给{it}加上腮红", "让{it}脸红"),
        ("给{it}的脸加上腮红",),
    ),
    "earrings": Wording(
        ("Give {it} golden earrings", "Put earrings on {it}", "Let {it} wear earrings"),
        ("Make {it} wear golden earrings",),
        ("给{it}戴上金色耳环", "让{it}戴耳环"),
        ("把金色耳环给{it}戴上",),
    ),
    "hair": Wording(
        ("Dye the hair of {it} {hair}", "Give {it} {hair} hair", "Change the hair color of {it} to {hair}"),
        ("Make the hair of {it} {hair}",),
        ("把{it}的头发染成{hair}", "将{it}的头发变成{hair}", "让{it}有{hair}头发"),
        ("把{it}的头发变成{hair}",),
    ),
    "hair style": Wording(
        ("Give {it} {style} hair", "Change the hair of {it} to {style} hair", "Let {it} have {style} hair"),
        ("Make the hair of {it} {style}",),
        ("让{it}有{style}发", "把{it}的头发变成{style}发"),
        ("将{it}的头发变成{style}发",),
    ),
}

REASONING: dict[str, Wording] = {
    "odd one": Wording(
        ("Remove the object that does not belong", "Take away the one that is different from the others"),
        ("Remove the object that is different from the others",),
        ("去掉与众不同的那个物体", "移除不属于这里的那个", "删除和其他物体不一样的那个"),
        ("去掉和其他物体不一样的那个",),
    ),
    "sum": Wording(
        ("Write the answer where the question mark is", "Solve the sum", "Replace the question mark with the answer"),
        ("Solve the sum, write the answer",),
        ("把问号换成答案", "算出答案，写在问号的位置", "解答这道题"),
        ("解答这道题，把问号换成答案",),
    ),
    "same colour": Wording(
        ("Make all objects the color of the largest one", "Give everything the color of the biggest object"),
        ("Give all objects the color of the biggest one",),
        ("让所有物体的颜色和最大的一样", "把所有物体变成最大物体的颜色"),
        ("把所有物体的颜色变成和最大的一样",),
    ),
    "drop": Wording(
        ("Show what happens when {it} is let go and falls to the ground", "!{it} loses its hold. What happens next?"),
        ("!What happens next when {it} falls to the ground?",),
        ("!如果松开{it}，会发生什么", "!{it}掉到地上了", "显示{it}落地后的样子"),
        ("显示{it}掉到地上的样子",),
    ),
    "rise": Wording(
        (
            "Show what happens when {it} is filled with gas and flies up",
            "!{it} is lighter than air. What happens next?",
        ),
        ("!What happens next when {it} flies up?",),
        ("!{it}飞上了天", "!如果{it}比空气轻，会发生什么"),
        ("!{it}比空气轻，飞上了天",),
    ),
    "corners": Wording(
        ("Color the shape without any corners {colour}", "Make the only round shape {colour}"),
        ("Make the shape without any corners {colour}",),
        ("把没有角的图形涂成{colour}", "让唯一的圆的图形变成{colour}"),
        ("让没有角的图形变成{colour}",),
    ),
    "swap": Wording(
        (
            "Let the largest and the smallest object change places",
            "Swap the places of the biggest and the smallest object",
        ),
        ("Swap the largest and the smallest object",),
        ("交换最大和最小物体的位置", "让最大的和最小的物体互换位置"),
        ("让最大和最小的物体交换位置",),
    ),
    "equal": Wording(
        (
            "Make the smallest object as big as the largest",
            "Let the smallest object grow to the size of the largest one",
        ),
        ("Let the smallest object grow as big as the largest",),
        ("让最小的物体和最大的一样大", "把最小的物体放大到和最大的一样"),
        ("把最小的物体变成和最大的一样大",),
    ),
}
