// Package browsertest uses the page of "wxphone fake" in a real browser,
// Chromium. It has tests only. It fails where there is no Chromium.
//
// With WXPHONE_SHOTS set to a directory, TestPageInEveryLook saves what the page
// looks like there.
package browsertest
