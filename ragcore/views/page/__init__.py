"""The page that shows why a pipeline answers as it does: served, or written with answers in it.

The page is HTML, a style sheet and ES modules, which need no build step. `page_files` returns them
for a server; `write_page` writes one file that carries answers and needs no server.
"""

from ragcore.views.page.files import page_files
from ragcore.views.page.recorded import page_html, write_page

__all__ = ["page_files", "page_html", "write_page"]
