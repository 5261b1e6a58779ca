"""What leaves the program for people: pictures, films and maps, without identity."""
