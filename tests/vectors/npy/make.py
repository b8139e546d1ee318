"""Writes the npy and npz files beside this script. Made with NumPy 2.4.6: python3 make.py

Every array has shape (2, 3, 4) and element i = 5 i - 40 (unsigned: 5 i, bool: i mod 3 = 0), floats divided by 8,
where not said otherwise.
"""

import os
import numpy as np
from numpy.lib import format as npy

os.chdir(os.path.dirname(os.path.abspath(__file__)))
i = np.arange(24).reshape(2, 3, 4)
signed = 5 * i - 40
arrays = {
    "float64": (signed / 8).astype("<f8"),
    "float32": (signed / 8).astype("<f4"),
    "float16": (signed / 8).astype("<f2"),
    "int64": signed.astype("<i8"),
    "int32": signed.astype("<i4"),
    "int8": signed.astype("i1"),
    "uint8": (5 * i).astype("u1"),
    "bool": i % 3 == 0,
}
for name, array in arrays.items():
    np.save(f"{name}.npy", array)
    np.save(f"{name}_fortran.npy", np.asfortranarray(array))
    if array.itemsize > 1:
        np.save(f"{name}_big.npy", array.astype(array.dtype.newbyteorder(">")))
np.save("float32_big_fortran.npy", np.asfortranarray(arrays["float32"].astype(">f4")))
for major in (2, 3):
    with open(f"float32_v{major}.npy", "wb") as file:
        npy.write_array(file, arrays["float32"], version=(major, 0))
np.save("scalar.npy", np.float32(1.5))  # shape ()
np.save("vector.npy", np.array([7], "<i4"))  # shape (1,)
np.save("empty.npy", np.zeros((3, 0, 2), "<f8"))
np.save("complex.npy", np.zeros(2, "<c8"))  # refused
np.save("record.npy", np.zeros(2, [("a", "<f4")]))  # refused
np.savez("stored.npz", **arrays)
np.savez_compressed("deflated.npz", **arrays)
