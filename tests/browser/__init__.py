"""Tests in a real browser: Debian's Chromium (its headless shell), driven by Playwright."""
