"""Find the landmarks of faces in photos, videos and the frames of a camera.

`python align.py --help` lists the options.
"""

from __future__ import annotations

from tf_dhm.__main__ import main

if __name__ == "__main__":
    main()
