"""What all pages of `stallwart review` share: sign-in, rights, forms, errors, the frame; knows no page."""
