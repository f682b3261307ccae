"""Align the photos of an archive on every core or machine, and write their faces as Parquet.

`python align_archive.py --help` lists the options.
"""

from __future__ import annotations

from tf_dhm.commands.archive import main

if __name__ == "__main__":
    main()
