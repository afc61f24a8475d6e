"""`weclick click`: a page in the browser on which people click, and the server behind it.

The page shows frames by index and never plays a video. A click is on disk before the server says so.
"""
