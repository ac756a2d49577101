"""What all pages are made with: templates, figures as text, pictures, SVG."""
