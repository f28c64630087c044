"""The model report: all that was asked of a challenger, as one value that is rendered as Markdown and as HTML."""
