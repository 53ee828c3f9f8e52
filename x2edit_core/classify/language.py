"""Which language an instruction is written in, as far as the rules care: English, Chinese or another one."""

from __future__ import annotations

import re
import unicodedata

from .english.words import tags_of
from .word_lists import word_list

ENGLISH, CHINESE, UNKNOWN = "en", "zh", "unknown"

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN_WORD = re.compile(r"[a-z\u00c0-\u024f\u1e00-\u1eff]+(?:'[a-z]+)?")
# Kana, Hangul, Cyrillic, Greek, Hebrew, Arabic, the Indic scripts, Thai, Lao, Tibetan, Burmese, Georgian, Ethiopic, Khmer.
_OTHER_SCRIPT = re.compile(
    r"[\u0370-\u07ff\u0900-\u10ff\u1100-\u13ff\u1780-\u17ff\u3041-\u30ff\u31f0-\u31ff\uac00-\ud7af]"
)

_ENGLISH_WORDS = frozenset(
    word_list(
        """the a an of and to in with this that from into my your his her their is are be make change please remove add
    turn it can could would you i want like look by for on at as replace give let show put all more what if how some
    without out up same picture image photo instead me us show zoom now should there where into not no only one two
    move enhance improve just do don't isn't keep everything hello thanks"""
    )
)
# Function words and editing verbs of languages in Latin script, none of them an everyday English word.
_FOREIGN_WORDS = frozenset(
    word_list(
        """le la les de un une du des et est avec dans pour sur cette ces votre au aux ajoute ajouter ajoutez supprime
    supprimer supprimez enleve change-la remplace remplacer remplacez transforme transformez rends rendre fais
    faites mets mettez couleur fond chien chat couleur voiture efface effacer une en qui que ses ce cet moi tres der
    das dem ein eine einen einem einer und ist mit auf fuer zu zum zur mach mache machen entferne entfernen ersetze
    ersetzen fuge hinzu verwandle verwandeln lass lasse bild foto hintergrund farbe hund katze nicht durch aus vom
    im bitte andere aendere auto setze neben el los las unos unas y con para por este esta del al que elimina
    eliminar quita quitar cambia cambiar reemplaza convierte haz hacer imagen perro gato fondo cartel pon poner
    texto quiero como una agrega borra parezca noche sea il lo gli di che dalla dal nel nella questa questo rimuovi
    aggiungi cambia sostituisci trasforma sfondo cane gatto immagine colore della dello sulla sul rendi fammi togli
    o os um uma da dos das na nas com remova mude adicione substitua transforme fundo cachorro imagem cor deixe faca
    het een van op voor verwijder maak voeg achtergrond hond kat wijzig verander uit naar rood vervang toe deze och
    att det som ta bort hunden bilden andra lagg byt bakgrunden gor bakgrund ett og til fjern hunden legg endre
    bakgrunnen usun zmien dodaj zamien tlo zdjecia psa kolor na ze do obraz zrob samochodu bir bu ve ile icin kaldir
    ekle degistir arka plan rengini fotograf yap resim kirmizi xoa doi thanh khoi buc anh mau chiec them vao nen
    thay hapus tambahkan ubah ganti latar belakang menjadi dari gambar warna dengan yang jadikan odstran pridej zmen
    pozadi obrazku psa poista lisaa vaihda kuvasta tausta koira torold el kutyat hatter kepet szinet sterge adauga
    schimba fundalul cainele imaginea"""
    )
)
_SHARED = frozenset(word_list("change no me do son an on as at a i we he is be in all one two to for this of it"))


def language_of(text: str) -> str:
    """`ENGLISH`, `CHINESE` or `UNKNOWN` for lower-case text whose quoted parts were taken out."""
    han, other = len(_HAN.findall(text)), len(_OTHER_SCRIPT.findall(text))
    words = _LATIN_WORD.findall(text)
    if other and other * 4 >= han + len(words):
        return UNKNOWN
    if han and han >= len(words):
        return CHINESE
    return ENGLISH if _is_english(words) else UNKNOWN


def _is_english(words: list[str]) -> bool:
    plain = [_without_accents(word) for word in words]
    accents = sum(a != b for a, b in zip(plain, words, strict=True))
    foreign = sum(word in _FOREIGN_WORDS and word not in _SHARED for word in plain) + 0.5 * accents
    known = sum(word in _ENGLISH_WORDS or bool(tags_of(word)) for word in plain if word not in _FOREIGN_WORDS)
    return known > foreign


def _without_accents(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))
