# SPDX-License-Identifier: Apache-2.0
"""Named tuples of many arrays that kernels hand on by reference.

A kernel that calls another one copies every word of its arguments; the arrays of all cores are some
hundreds. :func:`reference` leaves them where they are and hands on an address. What it names reads
its fields as the tuple itself does, and is good until the kernel that has made it returns.
"""

from typing import Any, TypeVar

from phasecore.models.engine.jit import COMPILED

__all__ = ["reference"]

T = TypeVar("T")

if not COMPILED:

    def reference(fields: T) -> T:
        """The named tuple itself: plain Python has no other way."""
        return fields

else:
    from llvmlite import ir
    from numba.core import cgutils, types
    from numba.core.imputils import lower_getattr_generic
    from numba.core.typing.templates import AttributeTemplate, infer_getattr
    from numba.extending import intrinsic, models, register_model

    class Reference(types.Type):
        """Address of a named tuple."""

        def __init__(self, of: Any):
            self.dtype = of
            super().__init__(name=f"Reference({of})")

    register_model(Reference)(models.PointerModel)

    @infer_getattr
    class _Fields(AttributeTemplate):
        key = Reference

        def generic_resolve(self, typ: Any, attr: str) -> Any:
            if attr in typ.dtype.fields:
                return typ.dtype.types[typ.dtype.fields.index(attr)]
            return None

    @lower_getattr_generic(Reference)
    def _field(context: Any, builder: Any, typ: Any, value: Any, attr: str) -> Any:
        index = typ.dtype.fields.index(attr)
        model = context.data_model_manager[typ.dtype.types[index]]
        place = cgutils.gep_inbounds(builder, value, 0, index)
        return model.from_data(builder, _load(builder, place))

    def _load(builder: Any, place: Any) -> Any:
        """A value, word by word, each of which never changes: loops need not read it again."""
        kind = place.type.pointee
        if isinstance(kind, (ir.LiteralStructType, ir.ArrayType)):
            found = ir.Constant(kind, ir.Undefined)
            for at in range(len(kind.elements) if hasattr(kind, "elements") else kind.count):
                part = _load(builder, cgutils.gep_inbounds(builder, place, 0, at))
                found = builder.insert_value(found, part, at)
            return found
        found = builder.load(place)
        found.set_metadata("invariant.load", builder.module.add_metadata([]))
        return found

    @intrinsic
    def reference(typingctx: Any, fields: Any) -> Any:
        """The address of a named tuple."""

        def make(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            model = context.data_model_manager[fields]
            return cgutils.alloca_once_value(builder, model.as_data(builder, args[0]))

        return Reference(fields)(fields), make
