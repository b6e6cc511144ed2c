"""What a finder loses on stamps unlike those it was shown: runs that leave a kind out, tested on that kind."""
