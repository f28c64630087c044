"""What one request body may hold, at most."""

from dataclasses import dataclass

from service.settings import Settings


@dataclass(frozen=True)
class Limits:
    """Each a setting of its own: `rows` is TIDEGATE_MAX_BATCH_ROWS, every other one TIDEGATE_MAX_<NAME>."""

    body_bytes: int = Settings.max_body_bytes
    rows: int = Settings.max_batch_rows
    values: int = Settings.max_values
    columns: int = Settings.max_columns
    classes: int = Settings.max_classes
    name_characters: int = Settings.max_name_characters
    id_bytes: int = Settings.max_id_bytes
    text_bytes: int = Settings.max_text_bytes
    list_numbers: int = Settings.max_list_numbers
    depth: int = Settings.max_depth

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Those that the operator chose."""
        return cls(
            body_bytes=settings.max_body_bytes,
            rows=settings.max_batch_rows,
            values=settings.max_values,
            columns=settings.max_columns,
            classes=settings.max_classes,
            name_characters=settings.max_name_characters,
            id_bytes=settings.max_id_bytes,
            text_bytes=settings.max_text_bytes,
            list_numbers=settings.max_list_numbers,
            depth=settings.max_depth,
        )
