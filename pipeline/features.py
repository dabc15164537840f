"""Names of the features in the tf.Examples: raw (out of ExampleGen) and transformed.

The raw names are those of the TensorFlow Object Detection API. One is left out on purpose:
`image/object/class/label`. Class ids have a single source, the schema's string_domain of
`CLASS_TEXT`, so examples carry class names only.
"""

# Raw examples, the output of both ExampleGens.
IMAGE_ENCODED = "image/encoded"  # bytes [1], the original file, or upright if EXIF data turn it
IMAGE_FORMAT = "image/format"  # bytes [1], "jpeg" or "png", from the content
IMAGE_FILENAME = "image/filename"  # bytes [1]
SOURCE_ID = "image/source_id"  # bytes [1], the image id that the split hashes
IMAGE_SHA256 = "image/key/sha256"  # bytes [1], hex digest of the original file
IMAGE_HEIGHT = "image/height"  # int64 [1], pixels
IMAGE_WIDTH = "image/width"  # int64 [1], pixels
YMIN = "image/object/bbox/ymin"  # float32 [n], 0..1 of the image's height
XMIN = "image/object/bbox/xmin"  # float32 [n], 0..1 of the image's width
YMAX = "image/object/bbox/ymax"  # float32 [n], YMIN < YMAX <= 1
XMAX = "image/object/bbox/xmax"  # float32 [n], XMIN < XMAX <= 1
CLASS_TEXT = "image/object/class/text"  # bytes [n], one of the schema's string_domain
# Absent where no object of the image has the flag.
DIFFICULT = "image/object/difficult"  # int64 [n], 1 for objects that count neither way
CROWD = "image/object/is_crowd"  # int64 [n], 1 for regions of many objects

FLAGS = (DIFFICULT, CROWD)
BOX = (YMIN, XMIN, YMAX, XMAX)
REQUIRED = (
    IMAGE_ENCODED,
    IMAGE_FORMAT,
    IMAGE_FILENAME,
    SOURCE_ID,
    IMAGE_SHA256,
    IMAGE_HEIGHT,
    IMAGE_WIDTH,
)

# Transformed examples, what the Trainer reads.
CANVAS = "canvas"  # bytes [1], training: JPEG of [canvas_size, canvas_size, 3], which it crops
# IMAGE_ENCODED stays as it is in the other splits: evaluation sees what an app sees.
BOXES_FLAT = "boxes"  # float32 [4 * n], n boxes of (ymin, xmin, ymax, xmax), normalised
CLASS_IDS = "class_ids"  # int64 [n], 0-based position in the schema's string_domain
IS_DIFFICULT = "difficult"  # int64 [n], 0 or 1
IS_CROWD = "crowd"  # int64 [n], 0 or 1
TRANSFORMED_ID = "source_id"  # bytes [1]
# Statistics of the whole training split, the same in each of its examples.
MAX_BOXES = "max_boxes"  # int64 [1], most boxes in one image, crowds included
BOX_SIZES = "box_sizes"  # float32 [21], quantiles 0, 0.05 ... 1 of objects' sqrt(area), 0..1
BOX_RATIOS = "box_ratios"  # float32 [21], the same of height / width
