"""Pictures of images and answers, drawn with Pillow and numpy alone; an image and arrays in, a PNG out."""
