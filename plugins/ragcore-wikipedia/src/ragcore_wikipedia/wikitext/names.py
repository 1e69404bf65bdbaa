"""List the names that wikis in many languages give to the same thing.

A dump's `<siteinfo>` names the namespaces of its own language only, and a piece of a dump may have
another wiki's or none. English names work in every wiki. All names are in lower case.
"""

from __future__ import annotations

import re

__all__ = [
    "APPARATUS",
    "CATEGORY",
    "DISAMBIGUATION",
    "FILE",
    "INFOBOX",
    "LANGUAGE_LINK",
    "LIST_CATEGORY",
    "LIST_TITLE",
]

_FILES = """
file image media datei bild fichier archivo imagen arquivo ficheiro imagem bestand afbeelding
immagine plik grafika файл изображение зображення tiedosto kuva fil billede soubor súbor
obrázok fájl kép fișier imagine fitxer imatge fitxategi irudi dosya resim αρχείο εικόνα
датотека слика datoteka slika картинка выява сүрэт şəkil fayl vaizdas attēls pilt skrá mynd
íomhá delwedd restr skeudenn dosiero ملف صورة پرونده تصویر وێنە קובץ תמונה चित्र छवि ছবি চিত্র
படிமம் దస్త్రం ಚಿತ್ರ പ്രമാണം චිත්‍රය ไฟล์ ภาพ ဖိုင် ຮູບ រូបភាព 文件 檔案 档案 图像 圖像 图片 圖片
画像 ファイル 파일 그림 tập_tin hình berkas gambar fail wêne larawan talaksan picha beeld
lêer fasciculus imago imaxe ficheru imachen ofbyld bilt պատկեր სურათი ფაილი сурет
"""
FILE = frozenset(_FILES.split())
"""Prefixes of files."""

_CATEGORIES = """
category kategorie catégorie categoría categoria categorie kategoria kategori категория
категорія катэгорыя kategória luokka κατηγορία категорија kategorija kateqoriya kategory
kategorio flokkur catagóir categori rummad kategooria kategoriija categurìa jamii kategorya
turkum категори төркем төркөм санат կատեգորիա კატეგორია تصنيف رده پۆل קטגוריה श्रेणी वर्ग
বিষয়শ্রেণী பகுப்பு వర్గం ವರ್ಗ വർഗ്ഗം ප්‍රවර්ගය หมวดหมู่ ကဏ္ဍ 分类 分類 カテゴリ 분류 thể_loại بؤلمه
"""
CATEGORY = frozenset(_CATEGORIES.split())
"""Prefixes of categories."""

# Three letters that name a site or a collection are no language.
LANGUAGE_LINK = re.compile(
    r"(?!(?:doi|rfc|mw|irc|cz|co|rev|wmf|oeis)$)(?:[a-z]{2,3}|simple|be-(?:x-old|tarask)|"
    r"zh-(?:min-nan|yue|classical)|roa-(?:rup|tara)|bat-smg|fiu-vro|map-bms|nds-nl|cbk-zam|"
    r"tokipona)"
)
"""Prefixes of links to the same article in another language."""

INFOBOX = re.compile(
    r"info ?box|^info/|^info[ -]|infobok|infotaula|infokutu|infokast|inligtingskas|taxobox|"
    r"speciesbox|geobox|chembox|drugbox|^episode list|starbox|planetbox|elementbox|"
    r"mycomorphbox|^ficha |^sinottico|tietolaatikko|faktamall|^fakta |^datos |bilgi kutusu|"
    r"^boîte |personboks|thông tin|карточка|картка|инфокутия|инфобокс|инфокутија|πληροφορίες|"
    r"معلومات|جعبه|صندوق|ज्ञानसन्दूक|माहितीचौकट|তথ্যছক|தகவல்|సమాచారపెట్టె|ಮಾಹಿತಿಚೌಕಟ್ಟು|กล่องข้อมูล|"
    r"信息框|資訊框|资讯框|基礎情報|基础情报|の情報|정보|տեղեկաքարտ|ინფოდაფა|^ინფო",
    re.IGNORECASE,
)
"""Part of an infobox's name, whose underscores are blanks."""

_DISAMBIGUATIONS = """
disambig disambiguation dab disamb hndis geodis numberdis surname_disambig
human_name_disambiguation place_name_disambiguation letter-number_combination_disambiguation
mathdab schooldis school_disambiguation hospitaldis airport_disambiguation
biology_disambiguation chemistry_disambiguation call_sign_disambiguation disambig-cleanup
disambig_cleanup meta-disambig begriffsklärung homonymie paronymie patronymie toponymie
internationalisation desambiguación desambiguacion desambiguação desambiguació
desambiguació_lloc disambigua disambigua_nazione dp doorverwijspagina dpintro
ujednoznacznienie неоднозначность многозначность неоднозначні_географічні_назви
багатозначність неадназначнасць täsmennyssivu täsmennys förgrening gren flertydig
flertydig_titel peker forgreining rozcestník rozlišovací_stránka rozlišovacia_stránka egyért
egyértelműsítő egyert egyért2 dezambiguizare argipen anlam_ayrımı anlamayrımı αποσαφήνιση
αποσαφ вишезначна_одредница višeznačna_odrednica razdvojba razločitev dəqiqləşdirmə
daugiareikšmis nozīmju_atdalīšana täpsustuslehekülg täpsustus aðgreining idirdhealú
gwahaniaethu disheñvelout apartigilo توضيح ابهام‌زدایی ابهام_زدایی ڕوونکردنەوە פירושונים
बहुविकल्पी_शब्द বহুঅর্থ வழிப்படுத்துதல் అయోమయ_నివృత్తి แก้กำกวม แก้ความกำกวม 消歧义 消歧義 消歧义页
消歧義頁 aimai 曖昧さ回避 人名の曖昧さ回避 地名の曖昧さ回避 동음이의 동음이의어_문서
định_hướng trang_định_hướng disambig_name disambiguasi nyahkekaburan dubbelsinnig discretiva
homónimos homonimia բազմիմաստություն күп_мәгънәлелек күп_мәғәнәлелек
trang_định_hướng_nhân_danh
"""
DISAMBIGUATION = frozenset(_DISAMBIGUATIONS.split())
"""Templates of pages that list the meanings of a title, with underscores."""

LIST_TITLE = re.compile(
    r"(?:lists? of|liste (?:der|des|von|de|du|d'|d’)|liste d|lista (?:de|"
    r"dos|das|del|di|dei|delle|degli|över|de les|dels)|elenco|lijst van|lijsten van|liste over|"
    r"lister over|liste von|luettelo |seznam |zoznam |popis |списък |список |спіс |списак |"
    r"anexo:|llista |danh sách |daftar |senarai |قائمة |فهرست |لیست |רשימת |κατάλογος |zerrenda|"
    r"listo de )|.*(?:listesi|siyahısı|一覧|列表|목록|の一覧|listája|luettelo|nimekiri|sąrašas|"
    r"saraksts|ցանկ|سیاهه|सूची|তালিকা|பட்டியல்)$",
    re.IGNORECASE,
)
"""The start of a list's title."""

LIST_CATEGORY = re.compile(
    r"lists?\b|listen?\b|listas?\b|lijsten?\b|outlines of|indexes of|"
    r"wikipedia (?:outlines|indexes)|"
    r"списки|списъци|seznamy|listy\b|listor|lister\b|luettelot|רשימות|قوائم|一覧|列表|목록",
    re.IGNORECASE,
)
"""The start of a category of lists, after its prefix.

Titles such as `Outline of geography` are here only, since `Index of refraction` is no list.
"""

_APPARATUS = """
references|notes and references|references and notes|footnotes|citations|notes|external links|
external link|see also|further reading|einzelnachweise|weblinks|siehe auch|literatur|
anmerkungen|notes et références|liens externes|voir aussi|articles connexes|lien externe|
références|referencias|enlaces externos|véase también|referências|ligações externas|
ver também|note|collegamenti esterni|voci correlate|altri progetti|bronnen|externe links|
externe link|zie ook|przypisy|linki zewnętrzne|zobacz też|примечания|ссылки|см. также|
примітки|посилання|див. також|източници|външни препратки|вижте също|lähteet|aiheesta muualla|
katso myös|källor|externa länkar|se även|referenser|kilder|eksterne lenker|
eksterne henvisninger|se også|referanser|reference|externí odkazy|odkazy|související články|
jegyzetek|további információk|kapcsolódó szócikkek|kaynakça|dış bağlantılar|ayrıca bakınız|
παραπομπές|εξωτερικοί σύνδεσμοι|δείτε επίσης|референце|спољашње везе|види још|مراجع|المراجع|
وصلات خارجية|انظر أيضا|انظر أيضًا|منابع|پیوند به بیرون|جستارهای وابسته|הערות שוליים|
קישורים חיצוניים|ראו גם|脚注|出典|外部リンク|関連項目|参考文献|参考资料|參考資料|外部链接|
外部連結|参见|參見|각주|외부 링크|같이 보기|tham khảo|liên kết ngoài|xem thêm|referensi|
pranala luar|lihat pula|rujukan|pautan luar|referències|enllaços externs|vegeu també|
erreferentziak|kanpo estekak|อ้างอิง|แหล่งข้อมูลอื่น|ดูเพิ่ม|சான்றுகள்|வெளி இணைப்புகள்|सन्दर्भ|
बाहरी कड़ियाँ|viited|välislingid|nuorodos|šaltiniai|literatūra|atsauces|ārējās saites
"""
APPARATUS = frozenset(_APPARATUS.strip().replace("\n", "").split("|"))
"""Headings of sections that hold references and links, no text on the subject."""
