"""The tools that all pages share: templates, figures as text, pictures, SVG."""
