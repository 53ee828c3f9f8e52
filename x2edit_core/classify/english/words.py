"""English words by what they tell about an edit; `tags_of` looks a word or phrase up, whatever its ending.

A word may carry several tags ("gold" is a colour and a material): the sentence decides, not the list.
"""

from __future__ import annotations

from functools import lru_cache

from ..word_lists import word_list

NO_TAGS: frozenset[str] = frozenset()

# Tag → words. Entries of several words join with "_".
_WORDS: dict[str, str] = {
    "colour": """red blue green yellow orange purple pink black white grey gray brown beige turquoise teal cyan
        magenta violet indigo maroon navy burgundy crimson scarlet azure lavender lilac mauve cream ivory khaki
        olive tan peach coral salmon aqua emerald sapphire ruby amber gold golden silver bronze copper fuchsia mint
        lime charcoal rose champagne mustard ochre rust terracotta off-white multicolored multicoloured
        rainbow-colored colorful colourful reddish bluish greenish yellowish pinkish aquamarine chartreuse jet-black
        plum cobalt periwinkle caramel tortoise hot_pink navy_blue sky_blue sky-blue rose_gold blonde neon_green
        pastel vermilion snow-white monochromatic different_color different_colors another_color transparent_red
        two-tone polka-dot""",
    "fruit_colour": "orange rose violet lavender peach plum olive lime mint ruby emerald sapphire rust coral salmon",
    "shade": """bright dark light deep pale soft vivid pastel rich dull matte shiny neon hot royal baby forest sky
        navy blood jet lemon creamy dusty electric metallic vibrant muted warm cool faded""",
    "colour_noun": "color colour hue shade tint coloration colouring coloring paint_job color_scheme colour_scheme",
    "recolour_verb": "recolor recolour colorize colourise colorise colourize dye tint paint repaint color colour",
    "material": """glass wood wooden metal metallic steel iron stone marble granite leather denim cotton wool woolen
        woollen velvet silk satin linen lace plastic rubber ceramic porcelain clay crystal ice gold golden silver
        bronze copper chrome brass aluminum aluminium titanium concrete brick cardboard paper origami bamboo wicker
        rattan jade diamond ruby emerald pearl fur furry fluffy plush knitted knit crocheted crochet yarn felt
        fleece suede canvas nylon latex vinyl acrylic resin wax chocolate gingerbread jelly gelatin candy moss mossy
        feather feathers straw rope foam sponge carbon carbon-fiber carbon_fiber tile tiled cobblestone asphalt
        quartz obsidian terracotta mahogany oak walnut pine teak tin stainless_steel tweed corduroy cashmere flannel
        lego legos lego_bricks balloons quilted stained_glass translucent transparent frosted glassy mirrored rusty
        rusted rustic polished brushed weathered slate limestone sandstone ivory bone amber cork parchment
        papier-mache fabric glitter sequins brushed_metal see-through stone-carved rough smooth glossy lacquered
        enamel concrete wooly fuzzy spiky bubble_wrap tinfoil foil marzipan sugar""",
    "material_noun": """material texture fabric textile finish surface cloth substance upholstery weave coating
        cladding plank planks tile tiles panel panels veneer""",
    "style": """anime manga cartoon cartoonish cartoon-style comic comics watercolor watercolour oil_painting
        painting sketch drawing illustration engraving etching fresco mosaic mural doodle caricature ukiyo-e ghibli
        studio_ghibli pixar disney simpsons minecraft cyberpunk steampunk vaporwave synthwave pop_art art_deco
        art_nouveau impressionist impressionism expressionist expressionism cubist cubism surrealist surrealism
        surreal abstract minimalist baroque rococo renaissance gothic romanticism pointillism pointillist fauvism
        realism photorealistic hyperrealistic pixel_art pixelated 8-bit 16-bit low-poly low_poly voxel claymation
        stop-motion vector_art line_art vector flat_design chibi lineart graffiti stained_glass_window papercut
        paper_cut paper_cutout gouache pastel_drawing chalk crayon charcoal_drawing pencil ink_wash ink_painting ink
        woodblock woodcut linocut blueprint tapestry embroidery pencil_drawing storybook picture_book fairy_tale
        fairytale vintage retro noir film_noir van_gogh monet picasso klimt dali warhol matisse hokusai rembrandt
        munch vermeer da_vinci kandinsky mondrian banksy hopper cezanne gauguin botticelli michelangelo goya turner
        basquiat haring lichtenstein dreamworks tim_burton wes_anderson futurism futuristic art_style artwork
        acrylic_painting poster travel_poster 3d_render 3d_animation render rendering action_figure figurine
        polaroid hand-drawn hand-painted woodblock_print screenprint risograph pointillistic sci-fi art comic_book
        comic_strip cel-shaded cel_shading anime-style children's_book video_game game_boy psychedelic kawaii
        monet's gogh van_gogh's movie_poster sketchy cgi trompe_l'oeil byzantine egyptian bauhaus collage silkscreen
        stencil tattoo webtoon rick_and_morty south_park miniature diorama tilt-shift isometric halftone glitch_art
        glitch daguerreotype toy_story paint-by-numbers embroidered cross-stitch origami_style constructivist""",
    "style_noun": """style look aesthetic manner artstyle vibe filter genre feel stylization medium art_form
        brush_strokes brushwork""",
    "restyle_verb": """stylize stylise restyle cartoonize cartoonise cartoonify pixarify animefy pixelate ghiblify
        redraw repaint_as anime-fy toonify reimagine re-imagine recreate re-create reinterpret sketch_out""",
    "weather": """rain rainy snow snowy snowstorm fog foggy mist misty haze hazy storm stormy thunderstorm lightning
        cloudy overcast sunny sunshine windy blizzard sandstorm drizzle downpour clear_sky blue_sky gloomy thunder
        rainstorm hail frost frosty snowfall snowing raining rainfall snowflakes raindrops hurricane_weather smog
        heat_haze""",
    "time": """night nighttime night-time nighttime_scene night_time day daytime day-time daylight noon midday
        midnight dawn dusk sunset sunrise twilight evening morning afternoon golden_hour blue_hour time_of_day
        moonlight moonlit sundown starry_night nightfall""",
    "season": "winter summer spring autumn fall wintertime springtime summertime autumnal wintry season seasonal",
    "light": """light lighting lights lit relight sunlight brightness contrast exposure saturation vibrance tone
        tones color_temperature colour_temperature temperature white_balance shadows highlights mood atmosphere
        ambience ambiance glow backlight backlit illumination candlelight color_grading colour_grading color_grade
        colour_grade grading grade sepia monochrome black_and_white black-and-white grayscale greyscale b&w weather
        cinematic neon_lights neon_lighting neon_light spotlight sunbeam sunbeams sun_rays rays lens_flare gamma
        tonal dreamy moody spooky eerie ominous romantic nostalgic color_tone colour_tone color_palette bloom
        god_rays climate warmth desaturate desaturated underexposed overexposed lights_on high-key low-key
        bokeh_lights rim_light dramatic_lighting teal_and_orange sky""",
    "tone_adjective": """brighter darker warmer cooler colder moodier gloomier dimmer lighter bright dark dim warm
        cool cold moody cheerful vivid vibrant muted faded washed-out dramatic hazy melancholic sunlit well-lit
        gloomy dreamy eerie spooky ominous serene romantic cinematic nostalgic saturated sunny rainy snowy foggy
        cloudy stormy overcast monochrome monochromatic sombre somber cozy mysterious festive creepy haunting softer
        high-contrast""",
    "face": """skin complexion zit zits shave clean_shave sideburn cheekbone acne pimple pimples blemish blemishes
        wrinkle wrinkles freckle freckles mole moles scar dark_circles eye_bags eyebags teeth tooth hair hairstyle
        haircut hairdo hairline beard mustache moustache stubble goatee sideburns eyebrow eyebrows eyelash eyelashes
        lashes brows makeup make-up lipstick eyeshadow eyeliner mascara blush foundation contour bangs fringe
        ponytail braid braids pigtails dreadlocks dreads curls bob mohawk afro buzz_cut pixie_cut bun jawline
        double_chin cheekbones cheekbone chin nostrils nose lips lip cheeks forehead waist waistline belly_fat legs
        thighs physique abs muscles figure_slimmer tan_line pores dimples smile_lines crow's_feet nasolabial wig
        highlights_in_hair facial_features face_shape fingernails nails nail_polish manicure tattoo tattoos
        body_shape skin_tone facial_hair undereye hair_color hair_colour baldness age""",
    "face_part": """nose lips lip chin jaw cheeks cheek eyes eye waist legs leg body figure face belly arms thighs
        jawline""",
    "face_trait": """younger older slimmer thinner slim skinnier fatter chubbier bald balder muscular handsome
        handsomer prettier youthful wrinkled tanned tanner curvier blond blonde brunette redhead clean-shaven
        unshaven rosy rosier smoother fresher plump plumper wrinkle-free flawless rested elderly teenager bearded
        old young toddler ginger freckled pregnant curly straight wavy longer shorter narrower""",
    "retouch_verb": """retouch airbrush whiten plump slim thin contour rejuvenate shave trim bleach style_hair
        soften smooth tan age de-age braid curl moisturize tidy""",
    "body": """hand hands arm arms leg legs head face eye eyes mouth lips knee knees foot feet finger fingers fist
        fists shoulder shoulders wing wings tail paw paws trunk ear ears tongue body elbow elbows back chin hips
        gaze neck thumb thumbs chest beak jaw""",
    "pose_noun": """pose posture gesture expression facial_expression stance action motion movement emotion
        body_language gaze""",
    "expression_noun": """smile grin frown wink laugh smirk scowl tears thumbs_up thumbs-up peace_sign wave hug kiss
        salute yawn big_smile pout blank_stare high_five nod""",
    "emotion": """happy sad angry surprised scared shocked excited sleepy tired bored confused worried disgusted
        fearful joyful cheerful smiling laughing crying frowning grumpy furious calm annoyed embarrassed shy proud
        serious afraid terrified amused upset startled neutral crying_face nervous anxious relaxed thoughtful asleep
        awake mad disappointed ecstatic""",
    "pose_adjective": """seated standing sitting upright kneeling sideways airborne still crouched crouching
        cross-legged lying outstretched asleep mid-air tiptoe barking open closed raised lowered bent crossed""",
    "motion": """smile grin laugh cry frown wink blink yawn wave jump leap hop run walk jog sprint sit stand lie
        kneel crouch squat bend lean dance spin twirl sing shout scream yell whisper talk speak eat drink bite chew
        lick sleep nap rest wake hug kiss embrace shake clap point raise lift lower stretch crawl climb swim dive
        fly soar float hover glide flap kick punch throw toss catch pull push drag carry ride drive hold grab turn
        read play look stare glance gaze peek nod bow salute pray meditate fight wrestle swing slide skate surf ski
        bark roar howl meow growl gallop trot buck graze peck pounce prowl curl roll fall trip stumble sneeze cough
        blow cheer celebrate applaud fold clench tilt turn_head face march pose stir chop cook pour sip swallow type
        dig sweep wipe knock strum drum juggle balance hunt chase stick_out open close spread cross reach tiptoe wag
        perch rear flex tickle wrap hide cuddle snuggle recline slouch squint pout scowl smirk giggle weep sob sweat
        lunge charge_forward rotate_head take_off land splash hang lay rub scratch sniff nuzzle pet feed fetch
        bounce bat wiggle shrug stomp duck shoot aim dribble bounce serve rest_head put_hands high-five handstand
        cartwheel somersault stare_at""",
    "text": """text texts word words letter letters lettering caption captions title subtitle subtitles headline
        font typeface typography slogan writing handwriting inscription quote quotation phrase sentence signature
        spelling watermark_text timestamp_text phone_number initials typo character_text speech_bubble number
        numbers digit digits numeral numerals date timestamp monogram wording message label_text logo_text
        brand_name name tagline poem hashtag calligraphy license_plate_number typo plate_number chinese_characters
        chinese_character price_tag_text dialogue paragraph hieroglyphs graffiti_text lyrics copy_text
        website_address price url date_stamp""",
    "text_verb": """write spell print_out sign engrave capitalize capitalise uppercase inscribe typeset translate
        sign_with misspell""",
    "text_carrier": """sign poster banner billboard t-shirt shirt tee jersey label plate license_plate newspaper
        blackboard whiteboard chalkboard book cover mug screen neon_sign menu ticket logo card note scroll page tag
        bottle bag cup package packaging box hat cap signboard storefront magazine board placard clock""",
    "background": """background backdrop bg back-ground surroundings environment setting scenery backgrounds
        landscape background_scene locale location venue wallpaper""",
    "place": """beach forest mountain mountains desert city street park garden library office jungle ocean sea
        underwater space outer_space galaxy moon mars castle cathedral church temple museum café cafe restaurant bar
        kitchen bedroom living_room bathroom classroom school stadium stage concert gym hospital market supermarket
        shop store mall airport station train_station subway bridge_scene harbor harbour lake river riverside
        waterfall meadow field prairie grassland savanna savannah farm countryside village town tokyo paris london
        new_york venice rome egypt pyramids eiffel_tower great_wall grand_canyon disneyland times_square taj_mahal
        studio white_studio runway race_track racetrack rooftop balcony cave volcano glacier iceberg arctic
        antarctica north_pole island tropical_island coast shore seaside lakeside poolside swimming_pool cliff
        canyon valley vineyard orchard greenhouse barn warehouse factory parking_lot garage alley highway road
        skyline cityscape metropolis ruins planet coral_reef aquarium zoo amusement_park playground campsite
        snowfield snow_field hotel lobby ballroom palace throne_room dungeon spaceship laboratory courtroom theater
        theatre cinema hall conference_room new_york_city everest mount_fuji santorini maldives hawaii sahara bali
        switzerland iceland japan italy niagara_falls las_vegas hollywood machu_picchu stonehenge golden_gate_bridge
        tuscany amazon rainforest swamp wilderness pier sunflower_field lavender_field flower_field wheat_field
        graveyard cemetery gallery art_gallery throne mountain_range bamboo_forest cherry_blossom_garden plaza
        town_square gradient night_sky battlefield football_field soccer_field basketball_court tennis_court
        golf_course dojo""",
    "person": """man woman boy girl person people guy lady gentleman kid kids child children baby toddler teenager
        adult model bride groom couple grandma grandpa grandmother grandfather mother father mom dad sister brother
        friend player dancer singer chef soldier knight king queen prince princess he him she her his they them me
        us myself athlete worker fisherman doctor nurse teacher student crowd family figure actor actress wife
        husband son daughter portrait selfie face men women subject character guys everyone everybody somebody i we
        elder individual runner cyclist skater swimmer musician guitarist cowboy farmer portrait_photo headshot
        ladies boys girls""",
    "animal": """dog cat puppy kitten bird horse cow sheep goat pig lion tiger bear elephant monkey rabbit bunny fox
        wolf deer duck chicken hen rooster swan goose eagle owl parrot penguin fish shark whale dolphin turtle snake
        frog lizard dragon unicorn panda koala kangaroo giraffe zebra squirrel mouse rat hamster hedgehog butterfly
        bee camel donkey crocodile cheetah leopard gorilla seal otter pony foal calf lamb cub chick pigeon crow""",
    "image": """image photo picture photograph pic pics scene shot snapshot everything it this frame whole_thing
        composition pixels screenshot overall visual visuals whole_image entire_image photos portrait img
        whole_picture entire_picture whole_scene entire_scene whole_photo entire_photo input thing one all_of_it
        landscape this_one stuff""",
    "camera_noun": """camera angle viewpoint perspective view vantage point_of_view pov viewing_angle camera_angle
        lens wide-angle wide_angle fisheye fish-eye zoom close-up closeup close_up bird's-eye_view bird's_eye_view
        bird's-eye birds-eye aerial_view aerial_shot top-down top_view side_view front_view rear_view back_view
        overhead_shot overhead_view framing field_of_view focal_length horizon aspect_ratio macro_shot macro
        first-person first_person full-body_shot full_body_shot full-body medium_shot long_shot wide_shot low_angle
        low-angle high_angle high-angle dutch_angle worm's-eye_view worm's_eye_view telephoto frontal_view
        depth_of_field three-quarter_view orientation crop""",
    "camera_verb": "zoom crop pan dolly orbit reframe recenter truck pedestal uncrop",
    "low_level": """canny canny_edge canny_edges canny_map edge_map edge_detection edge_image edges_map depth_map
        depth_image depth_estimation depth-to-image depthmap normal_map normals surface_normal surface_normals
        segmentation segmentation_map segmentation_mask semantic_map semantic_segmentation instance_segmentation
        instance_mask mask_image masks lineart line_art line_drawing hed soft_edge softedge openpose keypoint
        keypoints skeleton pose_skeleton pose_map scribble scribble_map sketch_map mlsd lineart_map edge_drawing
        contour_map outlines noise denoise denoising deblur deblurring dehaze dehazing derain deraining de-rain
        de-haze de-noise de-blur desnow de-snow motion_blur blur blurry blurriness blurred jpeg_artifacts
        compression_artifacts artifacts artefacts compression_noise film_grain grain super-resolution
        super_resolution super-resolve superresolution low_resolution low-resolution low-light_enhancement low-light
        rain_streaks rain_streak rain_drops_lens snow_noise moire image_restoration optical_flow saliency_map
        disparity edge-map contours bounding_boxes bounding_box alpha_matte matting line_map gaussian_noise
        salt_and_pepper image_noise upscale upsample semantic_label_map""",
    "thing": """traffic_light traffic_lights street_light streetlight headlights flashlight glasses sunglasses
        leaves earrings building buildings painting_frame ceiling goggles clothing shadow""",
    "vague": """better nice nicer good great cool cooler beautiful prettier pretty pop professional amazing awesome
        stunning gorgeous attractive appealing interesting expensive high-end upscale luxurious fancier fancy polished perfect
        presentable tidy tidier neat clean cleaner impressive eye-catching wow unique special lovely elegant
        aesthetic aesthetically pleasing best fun funnier fresher premium high-quality sharper_looking improved
        finished epic fantastic refined shine shine_more lively livelier natural realistic more_realistic different
        creative classy""",
    "improve_verb": """enhance improve polish optimize optimise refine upgrade elevate fix touch_up beautify edit
        adjust retouch perfect better perfectionate spruce surprise redo rework tweak finesse modify correct enrich
        process improvise repair jazz spice help do edit_up""",
    "quality": """quality details detail composition overall_look look aesthetics appearance clarity sharpness
        image_quality resolution balance proportions everything layout""",
    "size": """long short bigger larger smaller taller shorter longer wider narrower thicker thinner huge tiny giant
        enormous big small large twice half double size triple tall deeper higher lower closer_together round square
        rectangular oval triangular circular straight curved oversized gigantic miniature-sized colossal mini
        massive""",
    "size_verb": "enlarge shrink resize rescale stretch scale widen lengthen shorten elongate magnify",
    "move_verb": "move shift swap_places rearrange reposition spread_apart align center relocate reorganize",
    "scene_preposition": "in on at with near next beside behind under over above inside floating atop wearing against among "
    "surrounded sitting standing lying hanging driving riding half buried covered",
    "depiction": """sticker keychain statue plushie figurine emoji enamel_pin pin magnet logo poster selfie photo
        photograph picture painting portrait mug snow_globe toy_figure figure sculpture postage_stamp coin t-shirt
        close-up product_shot wedding_photo wide_shot version avatar icon badge patch ornament cookie cake balloon
        illustration drawing shot image rendering advertisement ad album_cover magazine_cover pendant puzzle tattoo
        stamp plush doll bobblehead trading_card mascot print charm embroidery neon_sign cover""",
}

REMOVE_VERBS = frozenset(
    word_list(
        """remove delete erase eliminate eradicate omit exclude discard lose drop scrub strip rid clear empty cut hide
    subtract wipe unwanted get_rid_of take_out take_away take_off edit_out photoshop_out cut_out wipe_out crop_out
    clean_off clean_away pull_out throw_away cross_out move_out leave_out get_out filter_out paint_out mask_out
    clone_out suppress no_more rub_out clean_up ditch dispose vanish dismiss banish evict"""
    )
)
ADD_VERBS = frozenset(
    word_list(
        """add insert place put include introduce draw attach hang plant sprinkle set install equip decorate surround give
    stick pop position build squeeze stack scatter append overlay superimpose adorn dress fit top garnish embed
    incorporate fill have_added set_up wrap drape lay throw_in create pile embellish populate furnish mount pin
    bring scatter generate accessorize throw toss lay_down park toss_in let_there_be equip"""
    )
)
CHANGE_VERBS = frozenset(
    word_list(
        """change turn transform convert replace swap switch substitute exchange trade morph alter modify make transfer
    render swap_out switch_out change_out turn_over reskin transmute redo remake shift let have adjust set reshape
    interchange update get vary"""
    )
)
REPLACE_VERBS = frozenset(word_list("replace swap substitute exchange trade swap_out switch_out switch interchange"))

STOPS = frozenset(
    word_list(
        """in on at of with from near by next beside behind under over above below inside outside across around through to
    into for that which who where while wearing holding leaning parked , . ; : ! ? and so but using like as made
    because if when instead rather than against during without along between among until after before onto off out
    atop toward towards beneath underneath via per is are was were be been being has"""
    )
)
DETERMINERS = frozenset(
    word_list(
        """the a an my your his her its our their this that these those some any each every all both another one two three
    four five several many few"""
    )
)
INDEFINITE = frozenset(word_list("a an some another two three four five several many few more"))


def _build() -> dict[str, frozenset[str]]:
    table: dict[str, set[str]] = {}
    for tag, words in _WORDS.items():
        for word in words.split():
            table.setdefault(word.replace("_", " "), set()).add(tag)
    return {word: frozenset(tags) for word, tags in table.items()}


REMOVE_VERBS, ADD_VERBS, CHANGE_VERBS = (
    frozenset(verb.replace("_", " ") for verb in verbs) for verbs in (REMOVE_VERBS, ADD_VERBS, CHANGE_VERBS)
)
WORD_TAGS = _build()
VERBS = REMOVE_VERBS | ADD_VERBS | CHANGE_VERBS
PHRASES = frozenset(word for word in VERBS if " " in word) | frozenset(w for w in WORD_TAGS if " " in w)
LONGEST_PHRASE = 4


@lru_cache(maxsize=8192)
def tags_of(word: str) -> frozenset[str]:
    """Tags of a lower-case word or phrase; plural, -ing and -ed forms fall back to their base."""
    for form in _forms(word):
        if form in WORD_TAGS:
            return WORD_TAGS[form]
    return NO_TAGS


def _forms(word: str) -> list[str]:
    forms = [word]
    if word.endswith("'s"):
        forms.append(word[:-2])
    if word.endswith("s") and len(word) > 3:
        forms.append(word[:-1])
    if word.endswith("es") and len(word) > 4:
        forms.append(word[:-2])
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            stem = word[: -len(ending)]
            forms += [stem, stem + "e"]
            if len(stem) > 2 and stem[-1] == stem[-2]:
                forms.append(stem[:-1])
    return forms


def base_verb(word: str) -> str:
    """The verb among ours that this form belongs to, or the word itself."""
    return next((form for form in _forms(word) if form in VERBS), word)
