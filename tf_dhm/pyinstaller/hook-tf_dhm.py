"""What PyInstaller cannot see in the imports of tf_dhm. PyInstaller runs this file when it finds tf_dhm."""

from __future__ import annotations

from PyInstaller.utils.hooks import collect_data_files, collect_dynamic_libs, copy_metadata

import tf_dhm

# Models and assets, and the version of the interpreter, which is read when it is loaded.
datas = collect_data_files("tf_dhm") + copy_metadata("ai-edge-litert")
# Modules that are loaded by name.
hiddenimports = [*sorted(set(tf_dhm.HOMES.values())), "ai_edge_litert.interpreter"]
# Without the plug-ins for accelerators of phones.
binaries = [entry for entry in collect_dynamic_libs("ai_edge_litert") if "/vendors/" not in entry[0]]
